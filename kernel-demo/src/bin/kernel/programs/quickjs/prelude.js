// What a script finds beside the language: print and console. Values become text as String() makes it.
{
  const { stdout, stderr } = globalThis;
  delete globalThis.stdout;
  delete globalThis.stderr;
  const line = (write) => (...values) => {
    write(values.map(String).join(" ") + "\n");
  };
  globalThis.print = line(stdout);
  globalThis.console = {
    log: line(stdout),
    info: line(stdout),
    debug: line(stdout),
    warn: line(stderr),
    error: line(stderr),
  };
}
