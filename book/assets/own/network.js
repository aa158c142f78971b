/* The network of experiment 1 in a page: forward, backward, and the maps of every convolution.

The convolutions are TensorFlow.js's; whatever lies between them are loops to be read here. Arrays
are flat and in the order (row, column, channel). An activation is {values, side, channels}. */
"use strict";
window.xray = window.xray || {};

xray.network = (() => {
  const POOLED = ["block1_conv2", "block2_conv2", "block3_conv3", "block4_conv3", "block5_conv3",
    "block6_conv2"]; // a 2 x 2 max pool follows
  const VALID = ["block6_conv1", "block6_conv2"]; // no padding

  /* Make the network from its tensors: {name: {kernel: Float32Array, shape, bias}}. */
  function build(tensors, names) {
    const layers = names.map((name) => {
      const { kernel, shape, bias } = tensors[name];
      const forward = tf.tensor4d(kernel, shape);
      // the gradient of a convolution is a convolution with the kernel turned by 180 degrees and
      // its channels swapped; TensorFlow.js's own gradient takes ten times as long
      const backward = tf.tidy(() => tf.transpose(tf.reverse(forward, [0, 1]), [0, 1, 3, 2]));
      return { name, forward, backward, bias: tf.tensor1d(bias),
        padding: VALID.includes(name) ? "valid" : "same", pooled: POOLED.includes(name) };
    });
    return { layers, dense: tensors.dense, logits: tensors.logits };
  }

  /* Return what an image (Float32Array of side x side grey values, 0 to 255) gives:
  {activations: tensors by layer, features: block5_pool averaged over its cells, flat, hidden,
  logits}. `pause` is awaited between blocks, so that the page can be drawn. Call `forget` when
  done with it. */
  async function forward(network, image, side, pause = async () => {}) {
    const activations = [];
    let features = null;
    let x = tf.tensor4d(image, [1, side, side, 1]);
    for (const layer of network.layers) {
      const a = tf.fused.conv2d({ x, filter: layer.forward, strides: 1, pad: layer.padding,
        bias: layer.bias, activation: "relu" });
      if (!activations.includes(x)) x.dispose();
      activations.push(a);
      x = a;
      if (!layer.pooled) continue;
      x = tf.maxPool(a, 2, 2, "valid");
      if (layer.name === "block5_conv3") features = meanOfCells(x);
      await pause();
    }
    const flat = x.dataSync();
    x.dispose();
    const hidden = dense(flat, network.dense).map((value) => Math.max(value, 0));
    return { activations, features, flat, hidden, logits: dense(hidden, network.logits) };
  }

  function meanOfCells(tensor) {
    const { values, side, channels } = read(tensor), result = new Float32Array(channels);
    for (let i = 0; i < values.length; i++) result[i % channels] += values[i] / side ** 2;
    return result;
  }

  function forget(passed) {
    passed.activations.forEach((a) => a.dispose());
  }

  /* Return input x kernel + bias; the kernel's shape is (inputs, outputs). */
  function dense(input, { kernel, shape, bias }) {
    const output = Float32Array.from(bias);
    for (let i = 0; i < shape[0]; i++)
      for (let j = 0; j < shape[1]; j++) output[j] += input[i] * kernel[i * shape[1] + j];
    return output;
  }

  function softmax(logits) {
    const top = Math.max(...logits);
    const parts = Array.from(logits, (value) => Math.exp(value - top));
    const sum = parts.reduce((a, b) => a + b);
    return parts.map((part) => part / sum);
  }

  /* Walk back from the score of a class, and return the cells of every layer and method:
  [{side, grad_cam, grad_cam_plus_plus, layer_cam, hires_cam}], in the order of the layers. */
  async function explain(network, passed, classId, pause = async () => {}) {
    const cells = [];
    let g = gradientOfFlat(network, passed, classId);
    for (let k = network.layers.length - 1; k >= 0; k--) {
      const layer = network.layers[k], a = read(passed.activations[k]);
      if (layer.pooled) {
        g = throughPool(a, g);
        await pause();
      }
      cells[k] = { side: a.side, ...maps(a, g) };
      if (k > 0) g = throughConvolution(layer, throughRelu(a, g), a);
    }
    return cells;
  }

  function read(tensor) {
    return { values: tensor.dataSync(), side: tensor.shape[1], channels: tensor.shape[3] };
  }

  /* Return the gradient of a class score by block6_pool. */
  function gradientOfFlat(network, passed, classId) {
    const { kernel, shape } = network.dense, last = network.logits;
    const gradient = new Float32Array(shape[0]);
    for (let j = 0; j < shape[1]; j++) {
      if (passed.hidden[j] <= 0) continue;
      const above = last.kernel[j * last.shape[1] + classId];
      for (let i = 0; i < shape[0]; i++) gradient[i] += kernel[i * shape[1] + j] * above;
    }
    return gradient;
  }

  /* A max pool hands its gradient to the largest of its four cells, the first one among equals.
  A last row or column that does not fit gets none. */
  function throughPool({ values, side, channels }, gradient) {
    const result = new Float32Array(values.length), half = Math.floor(side / 2);
    for (let row = 0; row < half; row++)
      for (let column = 0; column < half; column++) {
        const first = (2 * row * side + 2 * column) * channels;
        const below = first + side * channels;
        const from = (row * half + column) * channels;
        for (let k = 0; k < channels; k++) {
          let best = first + k;
          if (values[first + channels + k] > values[best]) best = first + channels + k;
          if (values[below + k] > values[best]) best = below + k;
          if (values[below + channels + k] > values[best]) best = below + channels + k;
          result[best] = gradient[from + k];
        }
      }
    return result;
  }

  function throughRelu({ values }, gradient) {
    const result = new Float32Array(gradient.length);
    for (let i = 0; i < result.length; i++) if (values[i] > 0) result[i] = gradient[i];
    return result;
  }

  function throughConvolution(layer, gradient, { side, channels }) {
    const result = tf.tidy(() => {
      let g = tf.tensor4d(gradient, [1, side, side, channels]);
      if (layer.padding === "valid") g = tf.pad(g, [[0, 0], [2, 2], [2, 2], [0, 0]]);
      return tf.conv2d(g, layer.backward, 1, layer.padding);
    });
    const values = result.dataSync(); // not within tidy, which would look through every value
    result.dispose();
    return values;
  }

  /* Return the cells of four methods, from a layer's activations and the gradient of a score by
  them. The formulas are those of xraylib.maps.equations; HiResCAM is Draelos and Carin 2020. */
  function maps({ values, side, channels }, gradient) {
    const n = side * side;
    const sumA = new Float64Array(channels), sumG = new Float64Array(channels);
    const layerCam = new Float32Array(n), hires = new Float32Array(n);
    for (let cell = 0, i = 0; cell < n; cell++) {
      let positive = 0, all = 0;
      for (let k = 0; k < channels; k++, i++) {
        const a = values[i], g = gradient[i];
        sumA[k] += a;
        sumG[k] += g;
        all += g * a;
        if (g > 0) positive += g * a;
      }
      layerCam[cell] = positive;
      hires[cell] = Math.max(all, 0);
    }
    const plus = plusPlusWeights(gradient, sumA, n, channels);
    const gradCam = new Float32Array(n), plusPlus = new Float32Array(n);
    for (let cell = 0, i = 0; cell < n; cell++) {
      let one = 0, other = 0;
      for (let k = 0; k < channels; k++, i++) {
        one += sumG[k] * values[i];
        other += plus[k] * values[i];
      }
      gradCam[cell] = Math.max(one / n, 0);
      plusPlus[cell] = Math.max(other, 0);
    }
    return { grad_cam: gradCam, grad_cam_plus_plus: plusPlus, layer_cam: layerCam,
      hires_cam: hires };
  }

  /* Return a weight for each channel: the mean of its positive gradients, in which cell i counts
  as 1 / (2 + g_i sum(A)). */
  function plusPlusWeights(gradient, sumA, n, channels) {
    const shares = new Float64Array(channels), weights = new Float64Array(channels);
    for (let cell = 0, i = 0; cell < n; cell++)
      for (let k = 0; k < channels; k++, i++) {
        const g = gradient[i], below = 2 + g * sumA[k];
        if (g === 0 || below === 0) continue;
        shares[k] += 1 / below;
        if (g > 0) weights[k] += g / below;
      }
    return weights.map((weight, k) => (shares[k] === 0 ? 0 : weight / shares[k]));
  }

  return { build, forward, forget, explain, softmax, maps };
})();
