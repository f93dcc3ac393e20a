//! Runs a target with pseudorandom inputs from a seed. `cargo xtask fuzz` is its command line.
//!
//! The inputs run in a child process. The child writes the number of each input to a file before
//! the input runs. If the child panics, is killed, or needs too long for an input, the parent saves
//! that input and prints the command that runs it again.

use palimpsest_fuzz::{TARGETS, Target, input};
use std::{
    env, fs, io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{self, Command, ExitCode},
    str::FromStr,
    thread,
    time::{Duration, Instant},
};

/// The maximum time for one input. The machine may be busy.
const INPUT_LIMIT: Duration = Duration::from_secs(60);

/// How often the parent looks at the child.
const POLL: Duration = Duration::from_millis(50);

const USAGE: &str = "usage: seeded TARGET input PATH | seeded TARGET SEED BOUND; TARGET is a name or `all`, \
                     BOUND is `bounded`, `runs N` or `seconds N`";

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match execute(&words) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn execute(words: &[&str]) -> io::Result<ExitCode> {
    match *words {
        [name, "input", path] => {
            let input = fs::read(path)?;
            targets(name)?.iter().for_each(|target| (target.run)(&input));
            Ok(ExitCode::SUCCESS)
        }
        [name, seed, "runs", number, "into", path] => {
            inputs(name, seed, Bound::Runs(parse(number)?), Path::new(path))
        }
        [name, seed, "seconds", number, "into", path] => {
            inputs(name, seed, Bound::Seconds(parse(number)?), Path::new(path))
        }
        [name, seed, "bounded"] => supervise(name, seed, |target| Bound::Runs(target.bounded_runs)),
        [name, seed, "runs", number] => {
            let runs = parse(number)?;
            supervise(name, seed, |_| Bound::Runs(runs))
        }
        [name, seed, "seconds", number] => {
            let seconds = parse(number)?;
            supervise(name, seed, |_| Bound::Seconds(seconds))
        }
        _ => Err(io::Error::other(USAGE)),
    }
}

/// Runs the inputs of one target in this process.
fn inputs(name: &str, seed: &str, bound: Bound, progress: &Path) -> io::Result<ExitCode> {
    let seed = parse(seed)?;
    for target in targets(name)? {
        Series { target, seed, bound }.run(progress)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs the inputs of each target in a child process.
fn supervise(name: &str, seed: &str, bound: impl Fn(Target) -> Bound) -> io::Result<ExitCode> {
    let seed = parse(seed)?;
    let mut code = ExitCode::SUCCESS;
    for target in targets(name)? {
        if !(Series { target, seed, bound: bound(target) }).supervise()? {
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

fn targets(name: &str) -> io::Result<Vec<Target>> {
    let chosen: Vec<_> = TARGETS.into_iter().filter(|target| name == "all" || name == target.name).collect();
    if chosen.is_empty() {
        let names = TARGETS.map(|target| target.name).join(", ");
        return Err(io::Error::other(format!("`{name}` names no target; the targets are {names}")));
    }
    Ok(chosen)
}

fn parse<T: FromStr>(word: &str) -> io::Result<T> {
    word.parse().map_err(|_| io::Error::other(format!("`{word}` is not a number; {USAGE}")))
}

/// When a series of inputs ends.
#[derive(Clone, Copy, Debug)]
enum Bound {
    Runs(u64),
    Seconds(u64),
}

/// The inputs of a target from a seed.
#[derive(Clone, Copy, Debug)]
struct Series {
    target: Target,
    seed: u64,
    bound: Bound,
}

impl Series {
    fn input(&self, number: u64) -> Vec<u8> {
        input(self.seed, number, self.target.input_bytes)
    }

    /// Runs the inputs in this process. Writes the number of each to `progress` before it runs, and
    /// the count at the end.
    fn run(&self, progress: &Path) -> io::Result<()> {
        let file = fs::OpenOptions::new().write(true).open(progress)?;
        let start = Instant::now();
        for number in 0_u64.. {
            file.write_all_at(&number.to_le_bytes(), 0)?;
            let is_over = match self.bound {
                Bound::Runs(runs) => number >= runs,
                Bound::Seconds(seconds) => start.elapsed().as_secs() >= seconds,
            };
            if is_over {
                break;
            }
            (self.target.run)(&self.input(number));
        }
        Ok(())
    }

    /// Runs the inputs in a child process, and saves the one that fails. Returns whether none does.
    fn supervise(&self) -> io::Result<bool> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("artifacts").join(self.target.name);
        fs::create_dir_all(&folder)?;
        let progress = folder.join(format!("progress-{}", process::id()));
        fs::write(&progress, [0; 8])?;
        let start = Instant::now();
        let failure = self.watch(&progress)?;
        let seconds = start.elapsed().as_secs_f64();
        let number = read(&progress)?;
        fs::remove_file(&progress)?;
        let Self { target: Target { name, .. }, seed, .. } = self;
        let Some(failure) = failure else {
            println!("fuzz/{name}: {number} inputs in {seconds:.1} s, seed {seed}");
            return Ok(true);
        };
        let path = self.save(&folder, number)?;
        println!("fuzz/{name}: input {number} of seed {seed} {failure}; run it again with");
        println!("cargo xtask fuzz --target {name} --input {}", path.display());
        Ok(false)
    }

    /// Waits for the child, and returns how it failed, if it did.
    fn watch(&self, progress: &Path) -> io::Result<Option<String>> {
        let (bound, amount) = match self.bound {
            Bound::Runs(runs) => ("runs", runs),
            Bound::Seconds(seconds) => ("seconds", seconds),
        };
        let words = [self.target.name, &self.seed.to_string(), bound, &amount.to_string(), "into"];
        let mut child = Command::new(env::current_exe()?).args(words).arg(progress).spawn()?;
        let (mut number, mut since) = (0, Instant::now());
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok((!status.success()).then(|| format!("ends with {status}")));
            }
            let now = read(progress)?;
            if now != number {
                (number, since) = (now, Instant::now());
            } else if since.elapsed() > INPUT_LIMIT {
                child.kill()?;
                child.wait()?;
                return Ok(Some(format!("takes more than {} s", INPUT_LIMIT.as_secs())));
            }
            thread::sleep(POLL);
        }
    }

    /// Writes the input with this number to a file, and returns its path.
    fn save(&self, folder: &Path, number: u64) -> io::Result<PathBuf> {
        let path = folder.join(format!("seed-{}-input-{number}", self.seed));
        fs::write(&path, self.input(number))?;
        Ok(path)
    }
}

/// Reads the number of the current input.
fn read(progress: &Path) -> io::Result<u64> {
    let bytes = fs::read(progress)?;
    bytes.try_into().map(u64::from_le_bytes).map_err(|_| io::Error::other("the progress file is damaged"))
}
