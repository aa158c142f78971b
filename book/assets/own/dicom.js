/* A DICOM file on its way into the network: one grey image, stored without compression. Its grey
values are those of xraylib.images; dicomParser finds the elements of the file. */
"use strict";
window.xray = window.xray || {};

xray.dicom = (() => {
  const { Refused, RETRY, checkSize } = xray.pictures;
  const SYNTAXES = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"]; // little endian, implicit, explicit
  const GREY = ["MONOCHROME1", "MONOCHROME2"];
  const EXPORT = "export it as PNG, or use the package (python -m xraylib.predict)";

  /* Return what a viewer shows at first, {grey, width, height}; throws `Refused` with the reason. */
  function read(bytes) {
    try {
      const syntax = dicomParser.readPart10Header(bytes).string("x00020010");
      if (!SYNTAXES.includes(syntax))
        throw new Refused(`a DICOM file that is compressed or big endian (${syntax}): store it ` +
          `uncompressed as explicit little endian, ${EXPORT}`);
      const data = dicomParser.parseDicom(bytes);
      check(data);
      return toGrey(data);
    } catch (error) {
      if (error instanceof Refused) throw error;
      const reason = error.exception || error.message || error;
      throw new Refused(`damaged DICOM file (${reason}): ${RETRY}`);
    }
  }

  /* Refuse what is not one grey image of a bearable size. */
  function check(data) {
    const number = (tag, otherwise) => data.uint16(tag) ?? otherwise;
    const width = number("x00280011", 0), height = number("x00280010", 0);
    const kind = data.string("x00280004"), bits = number("x00280101"), from = number("x00280100");
    const last = number("x00280102", bits - 1), frames = data.intString("x00280008") || 1;
    if (width * height === 0)
      throw new Refused("a DICOM file without an image: choose the radiograph that it belongs to");
    if (!GREY.includes(kind) || number("x00280002", 1) !== 1)
      throw new Refused(`colour or unknown (${kind}); a radiograph is grey: export it as a grey PNG`);
    if (frames !== 1) throw new Refused(`${frames} frames; a radiograph has one: export it as PNG`);
    checkSize(width, height);
    if (!(bits >= 8 && bits <= 16 && (from === 8 || from === 16) && bits <= from && last === bits - 1))
      throw new Refused(`${bits} bits a pixel, up to bit ${last} of ${from}; 8 to 16 from bit 0 on ` +
        `are read: ${EXPORT}`);
    for (const table of ["x00283000", "x00283010"])
      if (data.elements[table]?.items?.length)
        throw new Refused(`its grey values are in a table of the file: ${EXPORT}`);
  }

  /* Turn the stored values into grey values, by a table with an entry for each that can be stored. */
  function toGrey(data) {
    const width = data.uint16("x00280011"), height = data.uint16("x00280010");
    const bits = data.uint16("x00280101"), size = width * height;
    const codes = pixels(data, size), value = signedOrNot(data, bits);
    const seen = new Uint8Array(2 ** bits), mask = 2 ** bits - 1;
    for (let i = 0; i < size; i++) seen[codes[i] & mask] = 1;
    const isPadding = padding(data), found = [];
    seen.forEach((is, code) => { if (is && !isPadding(value(code))) found.push(value(code)); });
    const shown = curve(data, bits, found);
    const lowIsBright = (data.string("x00280004") === "MONOCHROME1") ||
      (data.string("x20500020") === "INVERSE");
    const table = Uint8Array.from(seen, (_, code) => {
      const grey = halfToEven(255 * shown(value(code)));
      return isPadding(value(code)) ? 0 : lowIsBright ? 255 - grey : grey;
    });
    return { grey: Uint8Array.from(codes, (code) => table[code & mask]), width, height };
  }

  /* Return the pixels as they are stored, Uint8Array or Uint16Array. */
  function pixels(data, size) {
    const element = data.elements.x7fe00010, bytes = data.uint16("x00280100") / 8;
    if (!element || element.length < size * bytes) throw new Error("too few bytes for its pixels");
    const raw = data.byteArray.slice(element.dataOffset, element.dataOffset + size * bytes);
    if (raw.length < size * bytes) throw new Error("it ends too early");
    return bytes === 1 ? raw : new Uint16Array(raw.buffer);
  }

  /* Return what reads the lowest `bits` of a number as the file says, with a sign or without. */
  function signedOrNot(data, bits) {
    const above = 32 - bits, signed = data.uint16("x00280103") === 1;
    return (code) => (signed ? (code << above) >> above : (code << above) >>> above);
  }

  /* Return what tells the values that only fill the rectangle around the image. */
  function padding(data) {
    const first = data.uint16("x00280120"), last = data.uint16("x00280121") ?? first;
    if (first === undefined) return () => false;
    const [a, b] = [first, last].map(signedOrNot(data, data.uint16("x00280100")));
    return (value) => value >= Math.min(a, b) && value <= Math.max(a, b);
  }

  /* Return what shows a value as 0 black to 1 white: rescaled, then through the first window, or
  else from the lowest to the highest of the range that the values found in the image fill. */
  function curve(data, bits, found) {
    const [center, width, slope, intercept] = ["x00281050", "x00281051", "x00281053", "x00281052"]
      .map((tag) => data.floatString(tag, 0));
    const windowed = center !== undefined && width !== undefined;
    const rescaled = slope !== undefined && intercept !== undefined;
    const rescale = (value) => (rescaled ? value * slope + intercept : value);
    const ends = range(bits, found).map(rescale), low = Math.min(...ends), high = Math.max(...ends);
    if (rescaled && !(Math.abs(slope) > 0 && low < high)) throw new Error(`rescale slope ${slope}`);
    const part = windowed ? throughWindow(data, center, width) : (value) => (value - low) / (high - low);
    return (value) => Math.min(Math.max(part(rescale(value)), 0), 1);
  }

  /* Return the lowest and the highest value: those found where some are below 0, else 0 and the top
  of 8, 10, 12, ... bits. */
  function range(bits, found) {
    const least = found.reduce((a, b) => Math.min(a, b), Infinity);
    const most = found.reduce((a, b) => Math.max(a, b), -Infinity);
    if (least < 0 && least < most) return [least, most];
    const filled = Math.max(8, most.toString(2).length);
    return [0, 2 ** (least < most ? Math.min(bits, filled + (filled % 2)) : bits) - 1];
  }

  /* DICOM PS3.3, C.11.2.1.2 and C.11.2.1.3: a window's part of white for a value. */
  function throughWindow(data, center, width) {
    const shape = (data.string("x00281056") || "LINEAR").toUpperCase();
    const known = ["LINEAR", "LINEAR_EXACT", "SIGMOID"].includes(shape);
    if (!known || !(width >= (shape === "LINEAR" ? 1 : Number.MIN_VALUE)) || !Number.isFinite(center))
      throw new Error(`a window ${shape} of width ${width}`);
    if (shape === "SIGMOID") return (value) => 1 / (1 + Math.exp((-4 * (value - center)) / width));
    const [middle, wide] = shape === "LINEAR" ? [center - 0.5, width - 1] : [center, width];
    return (value) => (value <= middle - wide / 2 ? 0
      : value > middle + wide / 2 ? 1 : (value - middle) / wide + 0.5);
  }

  /* Round as NumPy does. */
  function halfToEven(value) {
    const whole = Math.round(value);
    return whole - value === 0.5 && whole % 2 ? whole - 1 : whole;
  }

  return { read };
})();
