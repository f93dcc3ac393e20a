//! The jobs of the Linux guest, as words of its script: `FILE:FUNCTION:ARGUMENT`, with `:new` at
//! the end if each call has its own instance.

use palimpsest_host::protocol::{Instances, Job};

/// Parses a word. Returns `None` if it is not a job.
pub(crate) fn parse(word: &str) -> Option<Job> {
    let mut parts = word.split(':');
    let (file, function, argument) = (parts.next()?, parts.next()?, parts.next()?.parse().ok()?);
    let instances = match (parts.next(), parts.next()) {
        (None, None) => Instances::One,
        (Some("new"), None) => Instances::New,
        (Some(_), _) | (None, Some(_)) => return None,
    };
    // A job is called after its file, except for those of the file that contains many.
    let name = match file.strip_suffix(".wasm")? {
        "kernels" => function,
        stem => stem,
    };
    Some(Job {
        name: name.to_owned(),
        file: file.to_owned(),
        function: function.to_owned(),
        argument,
        instances,
    })
}

/// The jobs among a script's words.
pub(super) fn all_in(script: &str) -> Vec<Job> {
    script.split_ascii_whitespace().filter_map(parse).collect()
}

/// Returns the script with `word` after the last of its jobs, or `None` if it has no jobs.
pub(super) fn add_to(script: &str, word: &str) -> Option<String> {
    let last = script.split_ascii_whitespace().rfind(|word| parse(word).is_some())?;
    let end = script.rfind(last)? + last.len();
    let (before, after) = script.split_at(end);
    Some(format!("{before} {word}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_found_among_the_words_of_a_script() {
        let jobs = all_in(
            "/bin/runner --runs 3 fib.wasm:run:24 kernels.wasm:sieve:-2 \\\n grow.wasm:run:256:new a:b:c",
        );
        let found: Vec<_> = jobs.iter().map(|job| (job.name.as_str(), job.argument, job.instances)).collect();
        let expected =
            [("fib", 24, Instances::One), ("sieve", -2, Instances::One), ("grow", 256, Instances::New)];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_job_is_added_to_the_same_command() {
        let script = "wasm() {\n    /bin/runner a.wasm:run:1 \\\n        b.wasm:run:2:new\n}\nstatus=0\n";
        let expected =
            "wasm() {\n    /bin/runner a.wasm:run:1 \\\n        b.wasm:run:2:new c.wasm:run:3\n}\nstatus=0\n";
        assert_eq!(add_to(script, "c.wasm:run:3").as_deref(), Some(expected));
        assert_eq!(add_to("poweroff -f\n", "c.wasm:run:3"), None);
    }
}
