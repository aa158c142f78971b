/* What the reader changes by hand: the mirrored, exposed, marked, painted image. */
"use strict";
window.xray = window.xray || {};

xray.painting = (() => {
  const KEPT = 30; // steps that can be undone
  const BLACK = 1, MEAN = 2, BLURRED = 3;
  const { pictures } = xray;

  /* Start from a picture (side x side). `paint` says for each pixel what covers it: 0 nothing. */
  function start(picture) {
    return { picture, paint: new Uint8Array(picture.grey.length), undone: [],
      mirror: false, stops: 0, marker: false };
  }

  /* Return the picture as it is now. */
  function compose(state) {
    let now = state.mirror ? pictures.mirror(state.picture) : state.picture;
    if (state.stops !== 0) now = pictures.expose(now, state.stops);
    if (state.marker) now = mark(now);
    if (!state.paint.some(Boolean)) return now;
    const mean = pictures.mean(now);
    const blurred = state.paint.includes(BLURRED) ? pictures.blur(now).grey : null;
    const grey = now.grey.map((value, i) =>
      [value, 0, mean, blurred && blurred[i]][state.paint[i]]);
    return { ...now, grey };
  }

  /* Burn in the letter that says which side is the right one. */
  function mark({ grey, width, height }) {
    const canvas = new OffscreenCanvas(width, height), context = canvas.getContext("2d");
    context.font = `bold ${Math.round(height / 9)}px sans-serif`;
    context.fillStyle = "white";
    context.fillText("R", 0.05 * width, 0.16 * height);
    const { data } = context.getImageData(0, 0, width, height);
    const result = grey.map((value, i) =>
      Math.round(value + ((250 - value) * data[4 * i + 3]) / 255));
    return { grey: result, width, height };
  }

  function remember(state) {
    state.undone.push(state.paint.slice());
    if (state.undone.length > KEPT) state.undone.shift();
  }

  function undo(state) {
    if (state.undone.length) state.paint = state.undone.pop();
  }

  function brush(state, x, y, size, fill) {
    const { width, height } = state.picture, radius = size / 2;
    each(width, height, x - radius, y - radius, x + radius, y + radius, (i, column, row) => {
      if ((column + 0.5 - x) ** 2 + (row + 0.5 - y) ** 2 <= radius ** 2) state.paint[i] = fill;
    });
  }

  function box(state, [x0, y0], [x1, y1], fill) {
    const { width, height } = state.picture;
    each(width, height, Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1),
      (i) => { state.paint[i] = fill; });
  }

  /* Cover where a mask (side x side, true inside) is; a mirrored image has a mirrored mask. */
  function cover(state, mask, fill) {
    const { width } = state.picture;
    mask.forEach((inside, i) => {
      const place = state.mirror ? i - (i % width) + width - 1 - (i % width) : i;
      if (inside) state.paint[place] = fill;
    });
  }

  function each(width, height, left, top, right, bottom, visit) {
    const ends = [Math.floor(left), Math.floor(top), Math.ceil(right), Math.ceil(bottom)];
    for (let row = Math.max(0, ends[1]); row < Math.min(height, ends[3]); row++)
      for (let column = Math.max(0, ends[0]); column < Math.min(width, ends[2]); column++)
        visit(row * width + column, column, row);
  }

  return { BLACK, MEAN, BLURRED, start, compose, remember, undo, brush, box, cover };
})();
