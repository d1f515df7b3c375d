// Photos as exact pixels, without a canvas: reading a canvas back is not exact everywhere. PNG is read and written here
// (the browser's own streams do the deflating); JPEG is decoded by mozjpeg in WebAssembly. Other formats the browser
// decodes, with a note.

import { ApiError } from "../api.js";
import { kindOf } from "../formats.js";
import { deflated, png } from "../png.js";

/** @typedef {{type: string, data: Uint8Array<ArrayBuffer>}} Chunk A chunk of PNG that is kept, such as iCCP. */
/** @typedef {(bytes: Uint8Array) => Promise<{data: Uint8ClampedArray, width: number, height: number}>} JpegDecoder */
/**
 * @typedef {object} Photo
 * @property {number} width upright
 * @property {number} height
 * @property {number} channels 1: grey, 2: grey and alpha, 3: RGB, 4: RGBA
 * @property {Uint8Array} pixels
 * @property {Chunk[]} chunks
 * @property {string} notes
 */

const COLOUR_TYPES = [0, 0, 4, 2, 6];
/** @type {Record<number, number>} Channels by PNG's colour type. */
const CHANNELS = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };
const KEPT = ["cICP", "iCCP", "sRGB", "gAMA", "cHRM", "pHYs", "eXIf", "tEXt", "zTXt", "iTXt"];
const ROWS_AT_ONCE = 64;
const CONVERTED = "This browser decoded the photo, so its colours may differ a little from the file’s; the profile and EXIF data are not kept.";

/** @param {string} message */
const refused = (message) => new ApiError("format", message);
const damaged = () => refused("This file is damaged or cut short, and cannot be read to its end.");

/**
 * Refuse what this page cannot fill, before anything is painted on it.
 * @param {Blob} blob
 * @returns {Promise<string>} a note for the person, or ""
 */
export async function checkPhoto(blob) {
  const kind = await kindOf(blob);
  if (kind === "tiff") throw refused("This page does not read TIFF: save the photo as PNG, or fill it with pconv on a computer.");
  if (kind === "png") {
    const head = new Uint8Array(await blob.slice(0, 33).arrayBuffer());
    if (head[24] === 16) throw refused("This photo has 16 bits per channel, and this page fills 8: save it with 8, or fill it with pconv on a computer.");
  } else if (kind === "jpeg") {
    const { components, precision } = jpegParts(new Uint8Array(await blob.arrayBuffer()));
    if (components === 4) throw refused("This JPEG has inks (CMYK), which this page does not fill: save it as RGB, or fill it with pconv on a computer.");
    if (precision !== 8) throw refused("This JPEG has more than 8 bits per channel, which this page does not fill.");
  } else return CONVERTED;
  return "";
}

/**
 * @param {Blob} blob
 * @param {JpegDecoder} decodeJpeg
 * @returns {Promise<Photo>}
 */
export async function readPhoto(blob, decodeJpeg) {
  const notes = await checkPhoto(blob);
  const kind = await kindOf(blob);
  if (kind === "png") return readPng(new Uint8Array(await blob.arrayBuffer()));
  if (kind === "jpeg") return readJpeg(new Uint8Array(await blob.arrayBuffer()), decodeJpeg);
  const bitmap = await createImageBitmap(blob, { premultiplyAlpha: "none", colorSpaceConversion: "none" }).catch(() => {
    throw refused("This browser cannot decode this photo: save it as PNG or JPEG.");
  });
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  if (!context) throw new RangeError("no canvas");
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const pixels = new Uint8Array(context.getImageData(0, 0, width, height).data.buffer);
  const opaque = pixels.every((value, i) => i % 4 < 3 || value === 255);
  return { width, height, ...(opaque ? { channels: 3, pixels: picked(pixels, 4, 3) } : { channels: 4, pixels }), chunks: [], notes };
}

/** The first channels of pixels that have more. @param {ArrayLike<number>} pixels @param {number} have @param {number} want */
function picked(pixels, have, want) {
  const result = new Uint8Array((pixels.length / have) * want);
  for (let from = 0, to = 0; from < pixels.length; from += have) for (let c = 0; c < want; c++) result[to++] = pixels[from + c];
  return result;
}

// JPEG.

/**
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @param {JpegDecoder} decode
 * @returns {Promise<Photo>}
 */
async function readJpeg(bytes, decode) {
  const { components, exif, icc } = jpegParts(bytes);
  const { data, width, height } = await decode(bytes).catch((error) => {
    throw error instanceof RangeError ? error : damaged();
  });
  const channels = components === 1 ? 1 : 3;
  /** @type {Chunk[]} */
  const chunks = [];
  if (icc) {
    const name = [...new TextEncoder().encode("ICC profile"), 0, 0];
    const body = await deflated(async (writer) => {
      await writer.write(icc);
      await writer.close();
    });
    chunks.push({ type: "iCCP", data: new Uint8Array([...name, ...body]) });
  }
  if (exif) chunks.push({ type: "eXIf", data: exif });
  return upright({ width, height, channels, pixels: picked(data, 4, channels), chunks, notes: "" });
}

/** What is in a JPEG's head. @param {Uint8Array<ArrayBuffer>} bytes */
function jpegParts(bytes) {
  /** @type {Uint8Array<ArrayBuffer> | null} */
  let exif = null;
  /** @type {Map<number, Uint8Array>} */
  const profile = new Map();
  for (let at = 2; at + 4 < bytes.length; ) {
    if (bytes[at] !== 0xff) throw damaged();
    const marker = bytes[at + 1];
    if (marker === 0xff) {
      at++;
      continue;
    }
    const length = (bytes[at + 2] << 8) | bytes[at + 3];
    const body = bytes.subarray(at + 4, at + 2 + length);
    const begins = (/** @type {string} */ text) => String.fromCharCode(...body.subarray(0, text.length)) === text;
    if (marker === 0xe1 && !exif && begins("Exif\0\0")) exif = body.slice(6);
    if (marker === 0xe2 && begins("ICC_PROFILE\0")) profile.set(body[12], body.subarray(14));
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) {
      const pieces = [...profile].sort(([one], [other]) => one - other).flatMap(([, piece]) => [...piece]);
      return { precision: body[0], components: body[5], exif, icc: pieces.length ? new Uint8Array(pieces) : null };
    }
    at += 2 + length;
  }
  throw damaged();
}

// EXIF.

const ORIENTATION = 0x0112;
const THUMBNAIL = 0x0201;
const THUMBNAIL_LENGTH = 0x0202;

/**
 * Turn a photo as its EXIF data say, once: the data then say that it is upright. Its thumbnail, which would still show
 * what is removed, is wiped.
 * @param {Photo} photo
 * @returns {Photo}
 */
function upright(photo) {
  const exif = photo.chunks.find(({ type }) => type === "eXIf");
  if (!exif) return photo;
  const view = new DataView(exif.data.buffer, exif.data.byteOffset, exif.data.byteLength);
  let orientation = 1;
  try {
    const little = view.getUint16(0) === 0x4949;
    const entries = (/** @type {number} */ start) => {
      const count = view.getUint16(start, little);
      return Array.from({ length: count }, (_, i) => start + 2 + 12 * i);
    };
    const start = view.getUint32(4, little);
    for (const at of entries(start)) {
      if (view.getUint16(at, little) !== ORIENTATION) continue;
      orientation = view.getUint16(at + 8, little);
      view.setUint16(at + 8, 1, little);
    }
    const linkAt = start + 2 + 12 * view.getUint16(start, little);
    const next = view.getUint32(linkAt, little);
    if (next) {
      /** @type {Map<number, number>} */
      const found = new Map();
      for (const at of entries(next)) found.set(view.getUint16(at, little), view.getUint32(at + 8, little));
      const thumbnail = found.get(THUMBNAIL);
      if (thumbnail) exif.data.fill(0, thumbnail, thumbnail + (found.get(THUMBNAIL_LENGTH) ?? 0));
      view.setUint32(linkAt, 0, little);
    }
  } catch {
    // EXIF data that end too early say nothing more
  }
  return orientation >= 2 && orientation <= 8 ? turned(photo, orientation) : photo;
}

/** @param {Photo} photo @param {number} orientation 2 to 8, as EXIF counts @returns {Photo} */
function turned(photo, orientation) {
  const { width, height, channels, pixels } = photo;
  const [wide, high] = orientation >= 5 ? [height, width] : [width, height];
  const result = new Uint8Array(pixels.length);
  const flipX = [2, 3, 7, 8].includes(orientation);
  const flipY = [3, 4, 6, 7].includes(orientation);
  for (let y = 0, to = 0; y < high; y++) {
    for (let x = 0; x < wide; x++) {
      const [u, v] = orientation >= 5 ? [y, x] : [x, y];
      const from = ((flipY ? height - 1 - v : v) * width + (flipX ? width - 1 - u : u)) * channels;
      for (let c = 0; c < channels; c++) result[to++] = pixels[from + c];
    }
  }
  return { ...photo, width: wide, height: high, pixels: result };
}

// PNG.

/** @param {Uint8Array<ArrayBuffer>} bytes @returns {Promise<Photo>} */
async function readPng(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  /** @type {Chunk[]} */
  const all = [];
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    if (at + 12 + length > bytes.length) throw damaged();
    const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    all.push({ type, data: bytes.subarray(at + 8, at + 8 + length) });
    at += 12 + length;
    if (type === "IEND") break;
  }
  if (all[0]?.type !== "IHDR" || all[0].data.length < 13) throw damaged();
  const header = new DataView(all[0].data.buffer, all[0].data.byteOffset, 13);
  const [width, height] = [header.getUint32(0), header.getUint32(4)];
  const [depth, colour, interlaced] = [header.getUint8(8), header.getUint8(9), header.getUint8(12)];
  const channels = CHANNELS[colour];
  const body = new Blob(all.filter(({ type }) => type === "IDAT").map(({ data }) => data));
  const raw = await new Response(body.stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer().catch(() => {
    throw damaged();
  });
  const find = (/** @type {string} */ name) => all.find(({ type }) => type === name)?.data;
  const scale = colour === 3 ? 1 : 255 / (2 ** depth - 1);
  const stored = unfiltered(new Uint8Array(raw), { width, height, channels, depth, interlaced: interlaced === 1, scale });
  const chunks = all.filter(({ type }) => KEPT.includes(type)).map(({ type, data }) => ({ type, data: data.slice() }));
  const { pixels, channels: count } = withAlpha(stored, colour, channels, scale, find("PLTE"), find("tRNS"));
  return upright({ width, height, channels: count, pixels, chunks, notes: "" });
}

const PASSES = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
];

/**
 * Undo PNG's filters and its interlacing; bits become bytes.
 * @param {Uint8Array} raw
 * @param {{width: number, height: number, channels: number, depth: number, interlaced: boolean, scale: number}} head
 */
function unfiltered(raw, { width, height, channels, depth, interlaced, scale }) {
  const result = new Uint8Array(width * height * channels);
  const step = Math.max(1, (channels * depth) >> 3);
  let at = 0;
  for (const [left, top, right, down] of interlaced ? PASSES : [[0, 0, 1, 1]]) {
    const [wide, high] = [Math.ceil((width - left) / right), Math.ceil((height - top) / down)];
    if (wide <= 0 || high <= 0) continue;
    const bytes = Math.ceil((wide * channels * depth) / 8);
    /** @type {Uint8Array} */
    let above = new Uint8Array(bytes);
    for (let y = 0; y < high; y++, at += bytes + 1) {
      if (at + bytes + 1 > raw.length) throw damaged();
      const row = raw.subarray(at + 1, at + 1 + bytes);
      unfilter(row, above, raw[at], step);
      above = row;
      const to = ((top + y * down) * width + left) * channels;
      if (depth === 8 && right === 1) result.set(row, to);
      else {
        for (let i = 0; i < wide * channels; i++) {
          const bit = i * depth;
          const value = depth === 8 ? row[i] : (row[bit >> 3] >> (8 - depth - (bit & 7))) & (2 ** depth - 1);
          result[to + Math.floor(i / channels) * right * channels + (i % channels)] = value * scale;
        }
      }
    }
  }
  return result;
}

/** @param {Uint8Array} row @param {Uint8Array} above @param {number} filter @param {number} step bytes of a pixel */
function unfilter(row, above, filter, step) {
  for (let i = 0; i < row.length; i++) {
    const left = i >= step ? row[i - step] : 0;
    if (filter === 1) row[i] += left;
    else if (filter === 2) row[i] += above[i];
    else if (filter === 3) row[i] += (left + above[i]) >> 1;
    else if (filter === 4) row[i] += paeth(left, above[i], i >= step ? above[i - step] : 0);
    else if (filter !== 0) throw damaged();
    else return;
  }
}

/** @param {number} left @param {number} above @param {number} corner */
function paeth(left, above, corner) {
  const toLeft = Math.abs(above - corner);
  const toAbove = Math.abs(left - corner);
  const toCorner = Math.abs(left + above - 2 * corner);
  return toLeft <= toAbove && toLeft <= toCorner ? left : toAbove <= toCorner ? above : corner;
}

/**
 * Palettes become colours, and transparent colours an alpha channel.
 * @param {Uint8Array} stored
 * @param {number} colour PNG's colour type
 * @param {number} channels
 * @param {number} scale from stored values to 0..255
 * @param {Uint8Array} [palette]
 * @param {Uint8Array} [transparent]
 */
function withAlpha(stored, colour, channels, scale, palette, transparent) {
  if (colour !== 3 && (!transparent || channels % 2 === 0)) return { pixels: stored, channels };
  const colours = colour === 3 ? 3 : channels;
  const count = colours + (transparent ? 1 : 0);
  const pixels = new Uint8Array((stored.length / channels) * count);
  const key = Array.from({ length: channels }, (_, c) => ((transparent?.[2 * c] ?? 0) * 256 + (transparent?.[2 * c + 1] ?? 0)) * scale);
  for (let from = 0, to = 0; from < stored.length; from += channels, to += count) {
    if (colour === 3) {
      const entry = stored[from];
      for (let c = 0; c < 3; c++) pixels[to + c] = palette?.[3 * entry + c] ?? 0;
      if (transparent) pixels[to + 3] = transparent[entry] ?? 255;
    } else {
      let same = true;
      for (let c = 0; c < channels; c++) {
        pixels[to + c] = stored[from + c];
        if (stored[from + c] !== key[c]) same = false;
      }
      pixels[to + channels] = same ? 0 : 255;
    }
  }
  return { pixels, channels: count };
}

/** @param {Photo} photo @returns {Promise<Blob>} PNG of 8 bits */
export function writePhoto({ width, height, channels, pixels, chunks }) {
  const bytes = width * channels;
  const rows = async (/** @type {WritableStreamDefaultWriter<BufferSource>} */ writer) => {
    /** @type {Uint8Array} */
    let above = new Uint8Array(bytes);
    for (let top = 0; top < height; top += ROWS_AT_ONCE) {
      const bottom = Math.min(top + ROWS_AT_ONCE, height);
      const out = new Uint8Array((bottom - top) * (bytes + 1));
      let to = 0;
      for (let y = top; y < bottom; y++) {
        const row = pixels.subarray(y * bytes, (y + 1) * bytes);
        out[to++] = 4; // Paeth, which suits photos
        for (let i = 0; i < bytes; i++) {
          const inside = i >= channels;
          out[to++] = row[i] - paeth(inside ? row[i - channels] : 0, above[i], inside ? above[i - channels] : 0);
        }
        above = row;
      }
      await writer.write(out);
    }
    await writer.close();
  };
  return png(width, height, 8, COLOUR_TYPES[channels], rows, chunks);
}
