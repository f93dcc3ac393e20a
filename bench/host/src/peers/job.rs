//! What the Linux guest runs: functions with their arguments, as they stand in its script.
//!
//! Owns the words' grammar, `FILE:FUNCTION:ARGUMENT` and `:new` behind it if each call has an instance of its own.
//! Our kernel gets the same jobs in its plan, so that both sides run the same.

use palimpsest_host::protocol::{Instances, Job};

/// The job that a word stands for, if it stands for one.
fn parse(word: &str) -> Option<Job> {
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

/// The script with one more word behind the last of its jobs; none if it has no jobs.
pub(super) fn add_to(script: &str, word: &str) -> Option<String> {
    let last = script.split_ascii_whitespace().rfind(|word| parse(word).is_some())?;
    let end = script.rfind(last)? + last.len();
    let (before, behind) = script.split_at(end);
    Some(format!("{before} {word}{behind}"))
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
