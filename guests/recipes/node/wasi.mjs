// Runs a WASI command under Node.js, as the kernel runs it. The one argument is JSON.
import { readFileSync } from "node:fs";
import { WASI } from "node:wasi";

const { module, name, args, env, root, scratch } = JSON.parse(process.argv[2]);
const wasi = new WASI({
  version: "preview1",
  args: [name, ...args],
  env: Object.fromEntries(env),
  preopens: { "/": root, "/tmp": scratch },
  returnOnExit: true,
});
const { instance } = await WebAssembly.instantiate(readFileSync(module), wasi.getImportObject());
process.exitCode = wasi.start(instance);
