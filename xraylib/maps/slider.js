(() => {
  const root = document.currentScript.closest(".xray-slider");
  const page = JSON.parse(root.querySelector("script[type='application/json']").textContent);
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const controls = ["image", "method", "class", "layer"];
  const show = () => {
    const position = controls.map((name) => part(name).value);
    const [cells, heat, caption] = page.frames[position.join("-")];
    part("radiograph").src = part("ground").src = page.radiographs[part("image").value];
    part("cells").src = cells;
    part("heat").src = heat || cells;
    part("cells").alt = "True cells. " + caption;
    part("heat").alt = "Overlay. " + caption;
    part("caption").textContent = caption;
    part("layer").setAttribute("aria-valuetext", page.layers[part("layer").value]);
  };
  for (const event of ["input", "change"]) root.addEventListener(event, show);
  show();
})();
