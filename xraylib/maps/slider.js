/* The layer slider: controls that choose a frame, and the pictures that show it. The chapters'
frames are drawn beforehand; those of "Your own radiograph" are computed when they are asked for. */
window.xraySlider = window.xraySlider || (() => {
  const CONTROLS = ["image", "method", "class", "layer"];

  const STEP = 900; // milliseconds for which playing shows a layer
  const wait = (time) => new Promise((done) => setTimeout(done, time));

  /* Let a slider's controls show what `source` gives:
     layers: names; frame(position): {ground, cells, heat, caption, dead} or a promise of it,
     for a position [image, method, class, layer]; `dead` has a 1 for each cell without a say;
     outlines (where there are any): for each image the inside of an SVG. */
  function start(root, source) {
    const part = (name) => root.querySelector(`[data-part="${name}"]`);
    const position = () => CONTROLS.map((name) => Number(part(name).value));
    let turn = 0, plays = false;

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
      drawOutlines();
    }

    function move(to) {
      CONTROLS.forEach((name, k) => { part(name).value = to[k]; });
      return show();
    }

    /* From the layer that is shown to the last, or, from the last, through all of them. */
    async function play() {
      const layer = part("layer"), last = Number(layer.max);
      setPlaying(!plays);
      if (plays && Number(layer.value) === last) layer.value = 0;
      while (plays) {
        await show();
        await wait(STEP);
        if (Number(layer.value) === last) setPlaying(false);
        if (plays) layer.value = Number(layer.value) + 1;
      }
    }

    function setPlaying(on) {
      plays = on;
      part("play").textContent = on ? "Stop" : "Play";
      part("caption").setAttribute("aria-live", on ? "off" : "polite");
    }

    /* Keep a copy of the overlay, to be compared with what the slider shows next. */
    function hold() {
      const held = part("held"), on = held.hidden;
      held.hidden = !on;
      part("hold").setAttribute("aria-pressed", on);
      if (!on) return;
      const copy = part("heat").closest(".stack").cloneNode(true);
      for (const image of copy.querySelectorAll("img")) image.removeAttribute("data-part");
      held.querySelector(".stack").replaceWith(copy);
      held.querySelector("span").textContent = "held: " + part("caption").textContent;
    }

    function drawOutlines() {
      const on = part("outline")?.checked;
      const drawn = on ? source.outlines[position()[0]] : "";
      for (const svg of root.querySelectorAll(".panel:not([data-part=held]) svg.outline"))
        svg.innerHTML = drawn;
    }

    for (const event of ["input", "change"])
      for (const name of CONTROLS)
        part(name).addEventListener(event, () => { setPlaying(false); show(); });
    part("play").addEventListener("click", play);
    part("hold").addEventListener("click", hold);
    part("outline")?.addEventListener("change", drawOutlines);
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
    const slider = start(root, {
      layers: page.layers,
      outlines: page.outlines,
      frame: (position) => {
        const [cells, heat, caption, dead] = page.frames[position.join("-")];
        return { ground: page.radiographs[position[0]], cells, heat, caption, dead };
      },
    });
    linkTo(root, slider, page.layers);
  }

  /* Give every position an address, such as #slider=1&layer=block5_conv3&class=normal&..., and
     follow the one that the page was opened with. */
  function linkTo(root, slider, layers) {
    const number = [...document.querySelectorAll(".xray-slider:has(script)")].indexOf(root) + 1;
    const names = {};
    for (const name of CONTROLS) {
      const options = root.querySelector(`select[data-part="${name}"]`)?.options;
      names[name] = options ? [...options].map((option) => option.text) : layers.map((one) => one.split(",")[0]);
    }
    const link = root.querySelector("[data-part=here]");
    const point = () => {
      const asked = new URLSearchParams({ slider: number });
      slider.position().forEach((k, i) => asked.set(CONTROLS[i], names[CONTROLS[i]][k]));
      link.href = "#" + asked;
    };
    const follow = () => {
      const asked = new URLSearchParams(location.hash.slice(1));
      if (asked.get("slider") !== String(number)) return;
      const now = slider.position();
      slider.move(CONTROLS.map((name, i) => {
        const k = names[name].indexOf(asked.get(name));
        return k < 0 ? now[i] : k;
      }));
      root.scrollIntoView();
    };
    link.hidden = false;
    root.addEventListener("xray-moved", point);
    addEventListener("hashchange", follow);
    addEventListener("load", follow);
    point();
  }

  return { start, fromPage };
})();
