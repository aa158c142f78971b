/* The layer slider: controls that choose a frame, and the pictures that show it. The chapters'
frames are drawn beforehand; those of "Your own radiograph" are computed when they are asked for. */
window.xraySlider = window.xraySlider || (() => {
  const CONTROLS = ["image", "method", "class", "layer"];

  /* Let a slider's controls show what `source` gives:
     layers: names; frame(position): {ground, cells, heat, caption, dead} or a promise of it,
     for a position [image, method, class, layer]; `dead` has a 1 for each cell without a say. */
  function start(root, source) {
    const part = (name) => root.querySelector(`[data-part="${name}"]`);
    const position = () => CONTROLS.map((name) => Number(part(name).value));
    let turn = 0;

    async function show() {
      const asked = position(), mine = ++turn, name = source.layers[asked[3]];
      part("layer").setAttribute("aria-valuetext", name);
      part("name").textContent = name;
      root.dispatchEvent(new CustomEvent("xray-moved", { detail: asked }));
      const coming = source.frame(asked);
      const frame = coming instanceof Promise ? await coming : coming;
      if (mine !== turn || !frame) return; // the reader has moved on
      part("radiograph").src = part("ground").src = frame.ground;
      part("cells").src = frame.cells;
      part("heat").src = frame.heat || frame.cells;
      part("dead").innerHTML = hatching(frame.dead);
      part("cells").alt = "True cells. " + frame.caption;
      part("heat").alt = "Overlay. " + frame.caption;
      part("caption").textContent = frame.caption;
    }

    function move(to) {
      CONTROLS.forEach((name, k) => { part(name).value = to[k]; });
      return show();
    }

    for (const event of ["input", "change"])
      for (const name of CONTROLS) part(name).addEventListener(event, show);
    show();
    return { show, move, position };
  }

  /* Draw a line through every cell that has no say, as the inside of an SVG of 1 x 1. */
  function hatching(dead) {
    const side = Math.sqrt((dead || "").length), lines = [];
    for (let i = 0; i < (dead || "").length; i++) {
      if (dead[i] !== "1") continue;
      const x = i % side, y = Math.floor(i / side);
      for (let k = 0; k < 3; k++)
        lines.push(`M${(x + k / 3) / side} ${(y + 1) / side}L${(x + (k + 1) / 3) / side} ${y / side}`);
    }
    return `<path d="${lines.join("")}"/>`;
  }

  /* Start the slider around a script, whose frames a page carries. */
  function fromPage(script) {
    const root = script.closest(".xray-slider");
    const page = JSON.parse(root.querySelector("script[type='application/json']").textContent);
    start(root, {
      layers: page.layers,
      frame: (position) => {
        const [cells, heat, caption, dead] = page.frames[position.join("-")];
        return { ground: page.radiographs[position[0]], cells, heat, caption, dead };
      },
    });
  }

  return { start, fromPage };
})();
