// The environment of a script: print and console. Values are converted to text by String().
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
