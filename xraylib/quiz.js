// One quiz: says of a choice whether it is right, and keeps it in the browser.
(() => {
  const root = document.currentScript.closest(".xray-quiz");
  const right = JSON.parse(root.dataset.right);
  const kept = (name) => `xraylib:${location.pathname}:${name}`;
  const say = (field, value) => {
    const isRight = Number(value) === right[field.dataset.name];
    field.querySelector("[role=status]").textContent = isRight
      ? `Right. ${field.dataset.why}` : "Not this one. Look again, and choose another.";
  };
  for (const field of root.querySelectorAll("fieldset")) {
    let before = null;
    try { before = localStorage.getItem(kept(field.dataset.name)); } catch { /* not allowed */ }
    const choice = before && field.querySelector(`input[value="${before}"]`);
    if (choice) { choice.checked = true; say(field, before); }
    field.addEventListener("change", (event) => {
      say(field, event.target.value);
      try { localStorage.setItem(kept(field.dataset.name), event.target.value); } catch { }
    });
  }
})();
