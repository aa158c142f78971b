/* What the page computes with, loaded at a click: scripts one after the other, then the weights
taken apart. A page opened from a file may load scripts and nothing else, so all of it is scripts. */
"use strict";
window.xray = window.xray || {};

xray.loading = (() => {
  const here = document.currentScript.src;
  const MADE = new URL("made/", here).href;
  const FIRST = ["facts.js", "phantoms.js", "slider.js", "tf-core.min.js", "tf-backend-wasm.min.js"];

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
    for (const [k, name] of FIRST.entries()) {
      await script(name);
      tell((0.05 * (k + 1)) / FIRST.length);
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

  const FIRST_CHARACTER = 0x3400; // 15 bits in a character, from here on

  function bytesOfText(text) {
    const bytes = new Uint8Array(Math.floor((text.length * 15) / 8));
    let held = 0, bits = 0, at = 0;
    for (let i = 0; i < text.length; i++) {
      held = (held << 15) | (text.charCodeAt(i) - FIRST_CHARACTER);
      bits += 15;
      while (bits >= 8) {
        bits -= 8;
        bytes[at++] = held >> bits;
      }
      held &= (1 << bits) - 1;
    }
    return bytes;
  }

  /* Return kernels and biases by layer, as Float32Array. */
  function tensors(described, buffer) {
    const result = {};
    let at = 0;
    const take = (length) => buffer.slice(at, (at += length));
    const floats = (n) => new Float32Array(take(4 * n));
    for (const { name, shape, extra } of described) {
      const size = shape.reduce((a, b) => a * b), outputs = shape[shape.length - 1];
      let kernel;
      if (shape.length === 2) kernel = floats(size);
      else {
        const codes = new Int8Array(take(size));
        const bits = new Uint8Array(take(Math.ceil((size * extra) / 8)));
        kernel = scaled(codes, bits, extra, floats(outputs));
      }
      result[name] = { kernel, shape, bias: floats(outputs) };
    }
    return result;
  }

  /* Put whole numbers together from eight upper bits and `extra` lower ones, and multiply each
  by the scale of its output channel. */
  function scaled(codes, bits, extra, scales) {
    const kernel = new Float32Array(codes.length), step = 1 << extra;
    for (let i = 0, at = 0; i < codes.length; i++) {
      let lower = 0;
      for (let k = 0; k < extra; k++, at++)
        lower = 2 * lower + ((bits[at >> 3] >> (7 - (at & 7))) & 1);
      kernel[i] = (codes[i] * step + lower) * scales[i % scales.length];
    }
    return kernel;
  }

  return { load };
})();
