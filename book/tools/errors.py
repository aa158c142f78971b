"""Write the page of errors from the code: `python -m tools.errors`; a test holds it to the code."""

import ast
import importlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "book" / "when_it_says_no.md"
DOORS = {  # where things come in: file -> what comes in there
    "files": "Folders and files that are written",
    "images.reading": "Images and masks",
    "images.views": "Views of an image",
    "data.manifest": "Tables and folders of a data set",
    "data.split": "Splits and up-sampled batches",
    "metrics.counts": "Counts and intervals",
    "metrics.predictions": "Predictions",
    "maps.equations": "Maps",
    "maps.explainer": "Models to explain",
    "maps.slider": "The slider and the box for an image of your own",
    "segment": "The command `segment`",
    "predict": "The command `predict`",
    "audit": "The command `audit`",
}
HEAD = """# When it says no

Every error that the doors of the package can raise, made from the code by `python -m tools.errors`.
Three dots stand for what was found: a name, a number, a shape. What follows the last colon or
semicolon is the way out. An error about a file begins with its path.
"""


def raised(module: str) -> list[str]:
    """Return the texts of the errors that a file raises, in the order of its lines."""
    loaded = importlib.import_module(f"xraylib.{module}")
    tree = ast.parse(Path(loaded.__file__).read_text("utf8"))
    texts = []
    for function in (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)):
        for node in ast.walk(function):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
                known = assigned(function, node.lineno)
                texts += [(node.lineno, said) for said in spell(node.exc.args[-1], known, loaded)]
    return list(dict.fromkeys(text for _, text in sorted(texts) if text.strip(" .:;")))


def assigned(function: ast.FunctionDef, line: int) -> dict[str, ast.expr]:
    """Return what each name of a function was last set to before a line."""
    set_before = [
        node
        for node in ast.walk(function)
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.lineno < line
    ]
    return {n.targets[0].id: n.value for n in sorted(set_before, key=lambda n: n.lineno)}


def spell(node: ast.expr, known: dict, module) -> list[str]:
    """Return the texts that an expression can have, with dots for what only a run knows."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.FormattedValue):
        return spell(node.value, known, module)
    if isinstance(node, ast.IfExp):
        return spell(node.body, known, module) + spell(node.orelse, known, module)
    if isinstance(node, ast.JoinedStr | ast.BinOp):
        parts = node.values if isinstance(node, ast.JoinedStr) else (node.left, node.right)
        texts = [""]
        for part in parts:
            texts = [text + more for text in texts for more in spell(part, known, module)]
        return texts
    if isinstance(node, ast.Name):
        if isinstance(getattr(module, node.id, None), str):
            return [getattr(module, node.id)]
        value = known.get(node.id)
        if isinstance(value, ast.JoinedStr | ast.Constant | ast.IfExp):
            return spell(value, known | {node.id: None}, module)
    return ["..."]


def page() -> str:
    """Return the whole page."""
    from xraylib.images import reading

    parts, said = [HEAD], set()
    for module, title in DOORS.items():
        texts = raised(module)
        if module == "images.reading":
            texts += sorted(set(reading.KNOWN_BEGINNINGS.values()))
        texts = [text for text in texts if text not in said]  # each once, at its first door
        said.update(texts)
        if texts:
            lines = "\n".join(f"- {as_line(text)}" for text in texts)
            parts.append(f"## {title}\n\n{lines}\n")
    return "\n".join(parts)


def as_line(text: str) -> str:
    """Return a text on one line, as code where it holds no backtick."""
    text = " ".join(text.split())
    return f"``{text}``" if "`" in text else f"`{text}`"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf8")
