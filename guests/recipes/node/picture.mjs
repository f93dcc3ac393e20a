// Decodes a picture under Node.js with a library that the kernel drives as well. The one argument is JSON.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";

const { driver, module, args, root } = JSON.parse(process.argv[2]);
const unsupported = () => 52; // ENOSYS
const system = { fd_close: unsupported, fd_seek: unsupported, fd_write: unsupported };
const imports = { wasi_snapshot_preview1: system };
const { instance } = await WebAssembly.instantiate(readFileSync(module), imports);
const { malloc, memory, _initialize, lodepng_decode32, WebPDecodeRGBA } = instance.exports;
_initialize?.();

const file = readFileSync(join(root, args[0]));
const input = malloc(file.length);
new Uint8Array(memory.buffer).set(file, input);
const places = malloc(12);
const word = (index) => new DataView(memory.buffer).getUint32(places + 4 * index, true);

const decoders = {
  lodepng() {
    const status = lodepng_decode32(places, places + 4, places + 8, input, file.length);
    if (status !== 0) throw new Error(`LodePNG's error ${status}`);
    return [word(0), word(1), word(2)];
  },
  webp() {
    const pixels = WebPDecodeRGBA(input, file.length, places, places + 4);
    if (pixels === 0) throw new Error("no WebP");
    return [pixels, word(0), word(1)];
  },
};
const [pixels, width, height] = decoders[driver]();
const bytes = new Uint8Array(memory.buffer, pixels, width * height * 4);
const digest = createHash("sha256").update(bytes).digest("hex");
console.log(`${args[0]}: ${width} x ${height} pixels, SHA-256 ${digest}`);
