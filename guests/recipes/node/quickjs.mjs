// Evaluates a script with QuickJS under Node.js, through its package's own interface. The one argument is JSON.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const { module, library, args, root } = JSON.parse(process.argv[2]);
const { QuickJS } = await import(pathToFileURL(join(library, "dist", "index.js")));
const vm = await QuickJS.create({ wasm: readFileSync(module), timezoneOffset: 0, maxStackSize: 128 << 10 });

const string = vm.global.getProp("String");
const text = (value) => vm.callFunction(string, vm.undefined, value).toString();
const writer = (name, stream) =>
  vm.newFunction(name, (...values) => {
    stream.write(values.map(text).join(" ") + "\n");
    return vm.undefined;
  });
const console = vm.newObject();
for (const name of ["log", "info", "debug"]) vm.setProp(console, name, writer(name, process.stdout));
for (const name of ["warn", "error"]) vm.setProp(console, name, writer(name, process.stderr));
vm.setProp(vm.global, "console", console);
vm.setProp(vm.global, "print", writer("print", process.stdout));

const [name, script] =
  args[0] === "-e" ? ["<command line>", args[1]] : [args[0], readFileSync(join(root, args[0]), "utf8")];
try {
  vm.evalCode(script, name);
  vm.executePendingJobs();
} catch (error) {
  process.stderr.write(`Uncaught ${error.message}\n`);
  process.exitCode = 1;
}
