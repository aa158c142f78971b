/* A radiograph on its way into the network: read, refused, made grey, shrunk, changed by hand.

A picture is {grey: Uint8Array, width, height}, row by row, 0 black to 255 white. */
"use strict";
window.xray = window.xray || {};

xray.pictures = (() => {
  const MOST_PIXELS = 50_000_000;
  const MOST_BYTES = 100_000_000;
  const RETRY = "copy or download it again";
  const CONVERT = "this page reads PNG, JPEG, WebP and DICOM: convert it to PNG";
  const OTHERS = [ // how other files begin, and what to do about them
    ["GIF8", `a GIF image; ${CONVERT}`],
    ["BM", `a BMP image; ${CONVERT}`],
    ["II*\0", `a TIFF image; ${CONVERT}`],
    ["MM\0*", `a TIFF image; ${CONVERT}`],
    ["\0\0\0\x0cjP  ", `a JPEG 2000 image; ${CONVERT}`],
    ["\xff\x4f\xff\x51", `a JPEG 2000 image; ${CONVERT}`],
    ["%PDF", "a PDF document; export the image from it as PNG"],
    ["PK\x03\x04", "a ZIP archive; unpack it"],
    ["\x1f\x8b", "a gzip archive; unpack it"],
    ["\x08\0", "perhaps a DICOM file without preamble; save it with one, or as PNG"],
    ["\x02\0", "perhaps a DICOM file without preamble; save it with one, or as PNG"],
    ["version https://git-lfs", "a Git LFS pointer and not the image; fetch it with git lfs pull"],
    ["<", "a web page or drawing and not a photograph; download the image itself"],
  ];

  class Refused extends Error {}

  /* Read a file or Blob; throws `Refused` with the reason and the way out. */
  async function read(file) {
    if (file.size === 0) throw new Refused(`the file is empty: ${RETRY}`);
    if (file.size > MOST_BYTES)
      throw new Refused(`${file.size.toLocaleString("en")} bytes; at most 100,000,000: shrink it`);
    const bytes = new Uint8Array(await file.arrayBuffer());
    const isDicom = String.fromCharCode(...bytes.subarray(128, 132)) === "DICM";
    const picture = isDicom ? xray.dicom.read(bytes) : await decode(bytes);
    if (picture.grey.every((value) => value === picture.grey[0]))
      throw new Refused("all pixels are alike: it shows nothing; choose another image");
    return picture;
  }

  function checkSize(width, height) {
    if (width * height > MOST_PIXELS)
      throw new Refused(`${width} x ${height} pixels; at most 50,000,000: shrink it`);
  }

  /* Let the browser decode a PNG, JPEG or WebP file that is whole. */
  async function decode(bytes) {
    const size = check(bytes);
    checkSize(size.width, size.height);
    if (size.width * size.height > 1032 * 8 * bytes.length)
      throw new Refused(`damaged image (too few bytes for its pixels): ${RETRY}`);
    let bitmap;
    try {
      // the stored values, as the package takes them, and not those for a screen
      bitmap = await createImageBitmap(new Blob([bytes], { type: size.type }),
        { colorSpaceConversion: "none" });
    } catch {
      throw new Refused(`damaged image (it cannot be decoded): ${RETRY}`);
    }
    const picture = toGrey(bitmap);
    if (size.bits === 16 && picture.grey.every((value) => value < 64))
      throw new Refused("16 bits a pixel, and only the lower ones hold something, of which a browser " +
        "shows the upper eight: save it with 8 bits, or use the package (python -m xraylib.predict)");
    return picture;
  }

  /* Return {type, width, height} of a whole PNG, JPEG or WebP file, from its bytes. */
  function check(bytes) {
    const text = (from, to) => String.fromCharCode(...bytes.subarray(from, to));
    if (text(0, 8) === "\x89PNG\r\n\x1a\n") return checkPng(bytes);
    if (text(0, 3) === "\xff\xd8\xff") return checkJpeg(bytes);
    if (text(0, 4) === "RIFF" && text(8, 12) === "WEBP") return checkWebp(bytes);
    const known = OTHERS.find(([start]) => text(0, start.length) === start);
    throw new Refused(known ? known[1] : `not a PNG, JPEG, WebP or DICOM image: ${RETRY}`);
  }

  const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
    for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
    return n;
  });

  function crc32(bytes) {
    let crc = 0xffffffff;
    for (let i = 0; i < bytes.length; i++) crc = CRC_TABLE[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
    return (crc ^ 0xffffffff) >>> 0;
  }

  /* Walk through the chunks: every checksum must be right, and the last chunk be there. */
  function checkPng(bytes) {
    const damaged = (why) => new Refused(`damaged image (${why}): ${RETRY}`);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    let at = 8, size = null;
    while (at + 12 <= bytes.length) {
      const length = view.getUint32(at), end = at + 8 + length;
      if (end + 4 > bytes.length) throw damaged("it ends too early");
      const kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
      if (crc32(bytes.subarray(at + 4, end)) !== view.getUint32(end))
        throw damaged(`a wrong checksum in ${kind.replace(/[^a-zA-Z]/g, "?")}`);
      if (kind === "IHDR" && length >= 8)
        size = { type: "image/png", width: view.getUint32(at + 8), height: view.getUint32(at + 12),
          bits: bytes[at + 16] };
      if (!size || size.width * size.height === 0) throw damaged("its header cannot be read");
      if (kind === "IEND") return size;
      at = end + 4;
    }
    throw damaged("it ends too early");
  }

  /* Find the frame header, which has the size, and the marker of the end. */
  function checkJpeg(bytes) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    let at = 2, size = null;
    while (at + 4 <= bytes.length && !size) {
      if (bytes[at] !== 0xff) break;
      const marker = bytes[at + 1];
      const isFrame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
      if (isFrame && at + 9 <= bytes.length)
        size = { type: "image/jpeg", height: view.getUint16(at + 5), width: view.getUint16(at + 7) };
      at += marker === 0xff ? 1 : 2 + view.getUint16(at + 2);
    }
    if (!size || size.width * size.height === 0)
      throw new Refused(`damaged image (its header cannot be read): ${RETRY}`);
    for (let i = bytes.length - 2; i >= at; i--)
      if (bytes[i] === 0xff && bytes[i + 1] === 0xd9) return size;
    throw new Refused(`damaged image (it ends too early): ${RETRY}`);
  }

  function checkWebp(bytes) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    if (bytes.length < 30 || view.getUint32(4, true) + 8 > bytes.length)
      throw new Refused(`damaged image (it ends too early): ${RETRY}`);
    const kind = String.fromCharCode(...bytes.subarray(12, 16)), type = "image/webp";
    const three = (at) => bytes[at] + 256 * bytes[at + 1] + 65536 * bytes[at + 2];
    if (kind === "VP8X") return { type, width: three(24) + 1, height: three(27) + 1 };
    if (kind === "VP8L") {
      const bits = view.getUint32(21, true);
      return { type, width: (bits & 0x3fff) + 1, height: ((bits >>> 14) & 0x3fff) + 1 };
    }
    const side = (at) => view.getUint16(at, true) & 0x3fff;
    return { type, width: side(26), height: side(28) };
  }

  /* Weigh colours into luminance (ITU-R 601); what is transparent becomes black. */
  function toGrey(bitmap) {
    const { width, height } = bitmap;
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.fillStyle = "black";
    context.fillRect(0, 0, width, height);
    context.drawImage(bitmap, 0, 0);
    bitmap.close();
    const { data } = context.getImageData(0, 0, width, height);
    const grey = new Uint8Array(width * height);
    for (let i = 0, p = 0; i < grey.length; i++, p += 4)
      grey[i] = (data[p] * 19595 + data[p + 1] * 38470 + data[p + 2] * 7471 + 0x8000) >> 16;
    return { grey, width, height };
  }

  /* Resize to a square as the package does: by area when shrinking, bilinear when enlarging. */
  function resize({ grey, width, height }, side) {
    const shrinks = Math.min(width, height) >= side;
    const weights = shrinks ? byArea : bilinear;
    const rows = weights(height, side), columns = weights(width, side);
    const narrow = new Float32Array(height * side);
    for (let row = 0; row < height; row++)
      columns.forEach((parts, column) => {
        let sum = 0;
        for (const [place, share] of parts) sum += share * grey[row * width + place];
        narrow[row * side + column] = sum;
      });
    const result = new Uint8Array(side * side);
    rows.forEach((parts, row) => {
      for (let column = 0; column < side; column++) {
        let sum = 0;
        for (const [place, share] of parts) sum += share * narrow[place * side + column];
        result[row * side + column] = Math.min(255, Math.round(sum));
      }
    });
    return { grey: result, width: side, height: side };
  }

  /* For each of `to` pixels: which of `from` pixels it covers, and how much of it each is. */
  function byArea(from, to) {
    const scale = from / to;
    return Array.from({ length: to }, (_, k) => {
      const parts = [], start = k * scale, end = Math.min((k + 1) * scale, from);
      for (let place = Math.floor(start); place < end; place++) {
        const covered = Math.min(place + 1, end) - Math.max(place, start);
        if (covered > 1e-6) parts.push([place, covered / scale]);
      }
      return parts;
    });
  }

  function bilinear(from, to) {
    return Array.from({ length: to }, (_, k) => {
      const middle = Math.min(Math.max(((k + 0.5) * from) / to - 0.5, 0), from - 1);
      const place = Math.floor(middle), share = middle - place;
      return [[place, 1 - share], [Math.min(place + 1, from - 1), share]];
    });
  }

  /* Return values (side x side) enlarged to `to` x `to`, bilinear between the cells' centres. */
  function upscale(values, side, to) {
    const weights = bilinear(side, to), result = new Float32Array(to * to);
    weights.forEach(([[top, a], [bottom, b]], row) => {
      weights.forEach(([[left, c], [right, d]], column) => {
        result[row * to + column] =
          a * (c * values[top * side + left] + d * values[top * side + right]) +
          b * (c * values[bottom * side + left] + d * values[bottom * side + right]);
      });
    });
    return result;
  }

  function mirror({ grey, width, height }) {
    const result = new Uint8Array(grey.length);
    for (let i = 0; i < grey.length; i++)
      result[i] = grey[i - (i % width) + width - 1 - (i % width)];
    return { grey: result, width, height };
  }

  /* Make an image lighter or darker by a power of its grey values; black and white stay. */
  function expose({ grey, width, height }, stops) {
    const table = Uint8Array.from({ length: 256 }, (_, v) =>
      Math.round(255 * (v / 255) ** 2 ** -stops));
    return { grey: grey.map((value) => table[value]), width, height };
  }

  function mean({ grey }) {
    return Math.round(grey.reduce((a, b) => a + b, 0) / grey.length);
  }

  /* Blur by three passes of a box, which come close to a Gaussian. */
  function blur({ grey, width, height }, radius = 9) {
    let now = Float32Array.from(grey);
    for (let pass = 0; pass < 3; pass++) {
      now = blurRows(now, width, height, radius, 1, width);
      now = blurRows(now, height, width, radius, width, 1);
    }
    return { grey: Uint8Array.from(now, Math.round), width, height };
  }

  function blurRows(values, length, lines, radius, step, next) {
    const result = new Float32Array(values.length);
    for (let line = 0; line < lines; line++)
      for (let k = 0; k < length; k++) {
        let sum = 0;
        for (let d = -radius; d <= radius; d++)
          sum += values[line * next + Math.min(Math.max(k + d, 0), length - 1) * step];
        result[line * next + k * step] = sum / (2 * radius + 1);
      }
    return result;
  }

  return { Refused, RETRY, checkSize, read, check, resize, upscale, mirror, expose, mean, blur };
})();
