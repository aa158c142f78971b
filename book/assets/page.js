/* Names for what the theme leaves without one, for readers who hear the page. */
document.addEventListener("DOMContentLoaded", () => {
  // What can be read on a control is its name; a second name of another wording confuses.
  for (const control of document.querySelectorAll("summary[aria-label], .search-button__button"))
    if (control.textContent.trim()) control.removeAttribute("aria-label");
  // The pictures on the switch of colours say nothing that its own name does not.
  for (const button of document.querySelectorAll(".theme-switch-button")) {
    const strip = () => button.querySelectorAll("svg").forEach(picture => {
      picture.removeAttribute("role");
      picture.setAttribute("aria-hidden", "true");
      picture.querySelectorAll("title").forEach(title => title.remove());
    });
    new MutationObserver(strip).observe(button, { childList: true, subtree: true });
    strip();
  }
  for (const summary of document.querySelectorAll(".bd-links summary")) {
    const entry = summary.closest("li")?.querySelector("a");
    summary.setAttribute("aria-label", `Pages below ${entry ? entry.textContent.trim() : "this"}`);
  }
  // The entries of the bibliography are no list items, so the box around them is no list.
  for (const list of document.querySelectorAll(".citation-list")) list.removeAttribute("role");

  // One switch opens the folded code of the whole page.
  const folded = [...document.querySelectorAll("div.cell > details.hide.above-input")];
  const title = document.querySelector(".bd-article h1");
  if (folded.length && title) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "code-switch";
    const say = () => {
      const all = folded.every(details => details.open);
      button.textContent = all ? "Hide the code" : "Show all code";
      button.setAttribute("aria-pressed", all);
    };
    button.addEventListener("click", () => {
      const open = !folded.every(details => details.open);
      for (const details of folded) details.open = open;
      say();
    });
    for (const details of folded) details.addEventListener("toggle", say);
    say();
    title.after(button);
  }

  // A link into something folded opens it.
  const reveal = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let fold = target?.closest("details"); fold; fold = fold.parentElement.closest("details"))
      fold.open = true;
    if (target?.closest("details")) target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  reveal();

  // On a phone a figure is tapped to its full size and back.
  if (matchMedia("(max-width: 600px)").matches)
    for (const image of document.querySelectorAll(".bd-article .cell_output img"))
      if (!image.closest(".xray-slider, .lab"))
        image.addEventListener("click", () => image.classList.toggle("full"));
});
