/* What the page computes with, loaded at a click: scripts one after the other, then the weights
taken apart. A page opened from a file may load scripts and nothing else, so all of it is scripts. */
"use strict";
window.xray = window.xray || {};

xray.loading = (() => {
  const here = document.currentScript.src;
  const MADE = new URL("made/", here).href;
  const SCRIPTS = ["facts.js", "phantoms.js", "slider.js", "dicomParser.min.js",
    "tf-core.min.js", "tf-backend-wasm.min.js"];

  function script(name) {
    return new Promise((done, failed) => {
      const element = document.createElement("script");
      element.src = MADE + name;
      element.onload = () => { element.remove(); done(); };
      element.onerror = () => { element.remove(); failed(new Error(`${name} is missing`)); };
      document.head.append(element);
    });
  }

  /* Load everything and return the network; `tell` gets the share that is done, 0 to 1. */
  async function load(tell) {
    for (const [k, name] of SCRIPTS.entries()) {
      await script(name);
      tell((0.05 * (k + 1)) / SCRIPTS.length);
    }
    const code = await packed(xray.facts.wasm, () => {});
    const weights = await packed(xray.facts.weights, (share) => tell(0.05 + 0.75 * share));
    await startBackend(code);
    tell(0.9);
    const network = xray.network.build(tensors(xray.facts.tensors, weights), xray.facts.layers);
    tell(1);
    return network;
  }

  /* Let TensorFlow.js compute with WebAssembly, whose code would else be fetched. */
  async function startBackend(code) {
    const address = URL.createObjectURL(new Blob([code], { type: "application/wasm" }));
    tf.wasm.setWasmPaths(Object.fromEntries(["", "-simd", "-threaded-simd"].map(
      (kind) => [`tfjs-backend-wasm${kind}.wasm`, address])));
    await tf.setBackend("wasm");
    await tf.ready();
    URL.revokeObjectURL(address);
  }

  /* Return the bytes (an ArrayBuffer) that scripts of characters bring, unpacked. */
  async function packed({ name, parts, bytes }, tell) {
    const pieces = [];
    for (let k = 0; k < parts; k++) {
      await script(`${name}${k}.js`);
      pieces.push(bytesOfText(xray[`${name}${k}`]));
      delete xray[`${name}${k}`];
      tell((k + 1) / parts);
    }
    const whole = new Blob(pieces).slice(0, bytes).stream();
    return new Response(whole.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  }

  const FIRST = 0xd800, MARK = 0xe000, AWAY = 0xd700; // what UTF-16 has no place for is moved

  /* Take characters of two bytes apart; behind a mark stands one that was moved. */
  function bytesOfText(text) {
    const codes = new Uint16Array(text.length);
    let n = 0;
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      codes[n++] = code === MARK ? text.charCodeAt(++i) + AWAY : code;
    }
    return codes.subarray(0, n);
  }

  /* Return kernels and biases by layer, as Float32Array. */
  function tensors(described, buffer) {
    const result = {};
    let at = 0;
    const take = (length) => buffer.slice(at, (at += length));
    const floats = (n) => new Float32Array(take(4 * n));
    for (const { name, shape, bits } of described) {
      const size = shape.reduce((a, b) => a * b), outputs = shape[shape.length - 1];
      let kernel;
      if (!bits) kernel = floats(size);
      else {
        const extra = Math.max(bits - 8, 0), upper = new Int8Array(take(size));
        const lower = new Uint8Array(take(Math.ceil((size * extra) / 8)));
        kernel = scaled(upper, lower, extra, floats(outputs));
      }
      result[name] = { kernel, shape, bias: floats(outputs) };
    }
    return result;
  }

  /* Put whole numbers together from eight upper bits and `extra` lower ones, and multiply each
  by the scale of its output channel. */
  function scaled(upper, lower, extra, scales) {
    const kernel = new Float32Array(upper.length), step = 1 << extra;
    for (let i = 0, at = 0; i < upper.length; i++) {
      let below = 0;
      for (let k = 0; k < extra; k++, at++)
        below = 2 * below + ((lower[at >> 3] >> (7 - (at & 7))) & 1);
      kernel[i] = (upper[i] * step + below) * scales[i % scales.length];
    }
    return kernel;
  }

  return { load };
})();
