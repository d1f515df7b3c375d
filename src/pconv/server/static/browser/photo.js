// Photos as exact pixels, without a canvas: reading a canvas back is not exact everywhere. Libraries decode PNG and JPEG
// and encode PNG (codec.js); here is what they leave out: profiles, EXIF data and turning by them. Other formats the
// browser decodes, with a note.

import { ApiError } from "../api.js";
import { kindOf } from "../formats.js";
import { chunk } from "../png.js";
import { isFarFromSrgb, isPngFarFromSrgb } from "./profile.js";

/** @typedef {{type: string, data: Uint8Array<ArrayBuffer>}} Chunk A chunk of PNG that is kept, such as iCCP. */
/** @typedef {import("./codec.js").Codec} Codec */
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
const IHDR_END = 33;
/** Bytes of a PNG in which its profile is looked for. */
const HEAD = 2 ** 22;
const KEPT = ["cICP", "iCCP", "sRGB", "gAMA", "cHRM", "pHYs", "eXIf", "tEXt", "zTXt", "iTXt"];
const CONVERTED = "This browser decoded the photo, so its colours may differ a little from the file’s; the profile and EXIF data are not kept.";
const FAR =
  "Its colour profile is far from sRGB. This page fills the values as they are stored; pconv on a computer converts them first, which may fill better.";

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
    const start = new Uint8Array(await blob.slice(0, HEAD).arrayBuffer());
    if (start[24] === 16) throw refused("This photo has 16 bits per channel, and this page fills 8: save it with 8, or fill it with pconv on a computer.");
    const chunks = new Map(chunksOf(start).map(({ type, data }) => [type, data]));
    return (await isPngFarFromSrgb((name) => chunks.get(name))) ? FAR : "";
  }
  if (kind === "jpeg") {
    const { components, precision, icc } = jpegParts(new Uint8Array(await blob.arrayBuffer()));
    if (components === 4) throw refused("This JPEG has inks (CMYK), which this page does not fill: save it as RGB, or fill it with pconv on a computer.");
    if (precision !== 8) throw refused("This JPEG has more than 8 bits per channel, which this page does not fill.");
    return icc && isFarFromSrgb(icc) ? FAR : "";
  }
  return CONVERTED;
}

/**
 * @param {Blob} blob
 * @param {Codec} codec
 * @returns {Promise<Photo>}
 */
export async function readPhoto(blob, codec) {
  const notes = await checkPhoto(blob);
  const kind = await kindOf(blob);
  if (kind === "png") return readPng(new Uint8Array(await blob.arrayBuffer()), codec);
  if (kind === "jpeg") return readJpeg(new Uint8Array(await blob.arrayBuffer()), codec);
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
  return { width, height, ...(opaque ? { channels: 3, pixels: picked(pixels, 3) } : { channels: 4, pixels }), chunks: [], notes };
}

/**
 * The channels of a photo from RGBA.
 * @param {ArrayLike<number>} rgba
 * @param {number} channels 1: the red one, which is the grey; 2: it and alpha; 3: colours
 */
function picked(rgba, channels) {
  const result = new Uint8Array((rgba.length / 4) * channels);
  const from = channels === 2 ? [0, 3] : [0, 1, 2].slice(0, channels);
  for (let at = 0, to = 0; at < rgba.length; at += 4) for (let c = 0; c < channels; c++) result[to++] = rgba[at + from[c]];
  return result;
}

// JPEG.

/**
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @param {Codec} codec
 * @returns {Promise<Photo>}
 */
async function readJpeg(bytes, codec) {
  const { components, exif, icc } = jpegParts(bytes);
  const { data, width, height } = await codec.decode("jpeg", bytes);
  const channels = components === 1 ? 1 : 3;
  /** @type {Chunk[]} */
  const chunks = [];
  if (icc) {
    const name = [...new TextEncoder().encode("ICC profile"), 0, 0];
    const stream = new Blob([icc]).stream().pipeThrough(new CompressionStream("deflate"));
    const body = new Uint8Array(await new Response(stream).arrayBuffer());
    chunks.push({ type: "iCCP", data: new Uint8Array([...name, ...body]) });
  }
  if (exif) chunks.push({ type: "eXIf", data: exif });
  return upright({ width, height, channels, pixels: picked(data, channels), chunks, notes: "" });
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

/** The whole chunks of a PNG, or of its beginning. @param {Uint8Array<ArrayBuffer>} bytes @returns {Chunk[]} */
function chunksOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const chunks = [];
  for (let at = 8; at + 12 <= bytes.length; ) {
    const end = at + 12 + view.getUint32(at);
    const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (end <= bytes.length) chunks.push({ type, data: bytes.subarray(at + 8, end - 4) });
    at = end;
  }
  return chunks;
}

/**
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @param {Codec} codec
 * @returns {Promise<Photo>}
 */
async function readPng(bytes, codec) {
  if (bytes.length < IHDR_END) throw damaged();
  const colour = bytes[25];
  const all = chunksOf(bytes);
  const transparent = all.some(({ type }) => type === "tRNS");
  const chunks = all.filter(({ type }) => KEPT.includes(type)).map(({ type, data }) => ({ type, data: data.slice() }));
  const { data, width, height } = await codec.decode("png", bytes);
  const colours = colour === 0 || colour === 4 ? 1 : 3;
  const channels = colours + (colour >= 4 || transparent ? 1 : 0);
  const pixels = channels === 4 ? new Uint8Array(data.buffer) : picked(data, channels);
  return upright({ width, height, channels, pixels, chunks, notes: "" });
}

/** @param {Photo} photo @param {Codec} codec @returns {Promise<Blob>} PNG of 8 bits */
export async function writePhoto({ width, height, channels, pixels, chunks }, codec) {
  const png = await codec.encode(pixels, width, height, COLOUR_TYPES[channels]);
  const kept = chunks.flatMap(({ type, data }) => chunk(type, data));
  return new Blob([png.subarray(0, IHDR_END), ...kept, png.subarray(IHDR_END)], { type: "image/png" });
}
