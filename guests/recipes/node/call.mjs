// Calls an export of a module under Node.js, as `cargo xtask run --invoke` does: WASI is all that it
// can import, and a reactor is initialized first. The one argument is JSON.
import { readFileSync } from "node:fs";
import { WASI } from "node:wasi";

const { module, invoke, args } = JSON.parse(process.argv[2]);
const wasi = new WASI({ version: "preview1", returnOnExit: true });
try {
  const { instance } = await WebAssembly.instantiate(readFileSync(module), wasi.getImportObject());
  const { _initialize: initialize, ...others } = instance.exports;
  if (initialize) {
    wasi.initialize({ exports: { memory: others.memory, _initialize: initialize } });
  }
  if (invoke) {
    const result = others[invoke](...args.map(Number));
    console.log(result === undefined ? "" : String(result));
  }
} catch (error) {
  console.error(`${error.name}: ${error.message}`);
  process.exitCode = 1;
}
