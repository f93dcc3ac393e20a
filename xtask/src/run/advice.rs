//! Advice for a guest that the kernel did not run: where its imports usually come from, which flag
//! of its tool chain avoids what the engine lacks, and which option raises a limit.
//!
//! The kernel's message names what is wrong in the module. The lines here add what a user can do
//! about it, as far as the module shows which tool made it.

use palimpsest_host::boot::Session;
use palimpsest_host::protocol::{Outcome, Report};
use wasmparser::{Import, Parser, Payload, TypeRef};

/// Prints lines about the last run of the session, none if the guest was run.
pub(super) fn print(session: &Session, module: &[u8]) {
    if let Ok(Report { outcome: Outcome::Error, error: Some(error), .. }) = session.answer() {
        of_error(&error, module).iter().for_each(|advice| eprintln!("{advice}"));
    }
}

/// Returns lines about the kernel's `error` for `module`.
pub(crate) fn of_error(error: &str, module: &[u8]) -> Vec<String> {
    if error.contains("unknown import") || error.contains("has the wrong type") {
        return imports(module).map(str::to_owned).collect();
    }
    if let Some(proposal) = PROPOSALS.iter().find(|proposal| proposal.is_meant_by(error)) {
        return vec![proposal.advice.to_owned()];
    }
    if let Some((_, after)) = error.split_once("; the limit `")
        && let Some((name, _)) = after.split_once('`')
    {
        return vec![format!(
            "raise the limit with `--limit {name}=VALUE`, and the machine's memory with `--memory MIB`"
        )];
    }
    if SNAPSHOTS.iter().any(|message| error.contains(message)) {
        return vec![
            "write the file of `--from` again, with `cargo xtask snapshot FILE` of this repository"
                .to_owned(),
        ];
    }
    if error.contains("out of heap") {
        return vec!["give the machine more memory with `--memory MIB`".to_owned()];
    }
    Vec::new()
}

/// Parts of the messages about a snapshot that is damaged, or of something else.
const SNAPSHOTS: [&str; 5] = [
    "not a snapshot",
    "the snapshot has version",
    "the snapshot is damaged",
    "the snapshot is of the module",
    "the snapshot is malformed",
];

/// A proposal that the engine does not support.
struct Proposal {
    /// Parts of the validator's messages
    messages: &'static [&'static str],
    advice: &'static str,
}

impl Proposal {
    fn is_meant_by(&self, error: &str) -> bool {
        error.contains("invalid module") && self.messages.iter().any(|message| error.contains(message))
    }
}

/// All that known tools use.
const PROPOSALS: [Proposal; 4] = [
    Proposal {
        messages: &["exceptions"],
        advice: "exceptions are not supported: compile C++ with -fno-exceptions, or with Emscripten's \
                 -sDISABLE_EXCEPTION_CATCHING=1; setjmp without -fwasm-exceptions; Rust with panic=abort",
    },
    Proposal {
        messages: &["shared-everything"],
        advice: "shared-everything threads are not supported: no tool chain needs them",
    },
    Proposal {
        messages: &["threads", "shared memor", "atomic"],
        advice: "threads are not supported: compile without -pthread, and without the target features \
                 +atomics",
    },
    Proposal {
        messages: &["gc ", "GC", "rec group", "function references", "function-references", "heap type"],
        advice: "garbage collection and typed function references are not supported: Kotlin, Dart, \
                 OCaml and Java compile to them, and have no flag that avoids them",
    },
];

/// A tool whose modules need its own host.
struct Origin {
    /// Whether an import is one of this tool's
    has: fn(&Import<'_>) -> bool,
    advice: &'static str,
}

/// The known ones, the more specific ones first.
const ORIGINS: [Origin; 11] = [
    Origin {
        has: |import| {
            matches!(import.ty, TypeRef::Memory(memory) if memory.shared)
                || (import.module, import.name) == ("wasi", "thread-spawn")
        },
        advice: "it needs threads, which are not supported: compile without -pthread, for wasm32-wasip1",
    },
    Origin {
        has: |import| import.module == "gojs" || (import.module == "go" && import.name.contains('.')),
        advice: "its imports `gojs` are the JavaScript glue of Go (GOOS=js): build with GOOS=wasip1 GOARCH=wasm",
    },
    Origin {
        has: |import| {
            ["wbg", "__wbindgen_placeholder__", "__wbindgen_externref_xform__"].contains(&import.module)
                || import.module.ends_with("_bg.js")
                || import.name.starts_with("__wbg_")
                || import.name.starts_with("__wbindgen_")
        },
        advice: "its imports are the JavaScript glue of wasm-bindgen: build the Rust program for \
                 wasm32-wasip1, without wasm-bindgen",
    },
    Origin {
        has: |import| import.module.starts_with("wasi:") || import.module.starts_with("[export]"),
        advice: "it is the inside of a component (WASI preview 2): build for wasm32-wasip1",
    },
    Origin {
        has: |import| import.module == "rb-js-abi-host",
        advice: "its imports `rb-js-abi-host` are the JavaScript interface of Ruby: take a build of Ruby for \
                 wasm32-wasip1 without the gem js",
    },
    Origin {
        has: |import| {
            import.module == "napi" || import.module == "emnapi" || import.name.starts_with("napi_")
        },
        advice: "it is a native addon of Node.js (Node-API): build the library as a program for wasm32-wasip1",
    },
    Origin {
        has: |import| import.module == "wasi_unstable",
        advice: "it imports WASI preview 0 (`wasi_unstable`): build it with a newer SDK, for preview 1",
    },
    Origin {
        has: |import| import.module.starts_with("wasix_"),
        advice: "it imports WASIX, which is Wasmer's own: build it for wasm32-wasip1",
    },
    Origin {
        has: |import| import.module.starts_with("GOT.") || import.name == "__memory_base",
        advice: "it is a library for dynamic linking: link it statically, without -shared and -sSIDE_MODULE",
    },
    Origin {
        has: |import| {
            let known =
                ["emscripten_", "_emscripten_", "__syscall_", "invoke_", "_embind_", "__cxa_", "_abort_js"];
            import.module == "env" && known.iter().any(|start| import.name.starts_with(start))
        },
        advice: "its imports `env` are the JavaScript glue of Emscripten: link with -sSTANDALONE_WASM, and \
                 without what needs JavaScript (embind, EM_JS), or compile with wasi-sdk",
    },
    Origin {
        has: |import| import.module == "a" && import.name.len() <= 2,
        advice: "its imports `a` are the JavaScript glue of Emscripten, with shortened names: link with \
                 -sSTANDALONE_WASM, or compile with wasi-sdk",
    },
];

/// Returns a line for each tool that the imports show.
fn imports(module: &[u8]) -> impl Iterator<Item = &'static str> {
    let payloads = Parser::new(0).parse_all(module).map_while(Result::ok);
    let imports: Vec<_> = payloads
        .filter_map(
            |payload| if let Payload::ImportSection(imports) = payload { Some(imports) } else { None },
        )
        .flatten()
        .map_while(Result::ok)
        .collect();
    let shown = ORIGINS.iter().filter(move |origin| imports.iter().any(|import| (origin.has)(import)));
    shown.map(|origin| origin.advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_imports(imports: &str) -> Vec<String> {
        let module = wat::parse_str(format!("(module {imports})")).expect("the text is a module");
        of_error("error: unknown import `a` `b`; define it in the linker", &module)
    }

    #[test]
    fn imports_show_the_tool_that_made_them() {
        for (imports, expected) in [
            (r#"(import "env" "emscripten_memcpy_js" (func))"#, "Emscripten"),
            (r#"(import "a" "b" (func))"#, "Emscripten"),
            (r#"(import "wbg" "__wbg_log_1" (func))"#, "wasm-bindgen"),
            (r#"(import "./x_bg.js" "f" (func))"#, "wasm-bindgen"),
            (r#"(import "rb-js-abi-host" "f" (func))"#, "Ruby"),
            (r#"(import "env" "napi_throw" (func))"#, "Node-API"),
            (r#"(import "gojs" "runtime.wasmExit" (func))"#, "GOOS=wasip1"),
            (r#"(import "wasi:io/poll@0.2.0" "poll" (func))"#, "WASI preview 2"),
            (r#"(import "wasi_unstable" "fd_write" (func))"#, "preview 0"),
            (r#"(import "wasix_32v1" "futex_wait" (func))"#, "WASIX"),
            (r#"(import "env" "memory" (memory 1 2 shared))"#, "threads"),
            (r#"(import "GOT.mem" "x" (global (mut i32)))"#, "dynamic linking"),
        ] {
            let found = of_imports(imports);
            assert!(found.len() == 1 && found[0].contains(expected), "{imports}: {found:?}");
        }
    }

    #[test]
    fn imports_of_the_users_own_host_get_no_advice() {
        assert_eq!(of_imports(r#"(import "env" "print" (func))"#), [""; 0]);
    }

    #[test]
    fn a_module_with_two_origins_gets_both() {
        let both = r#"(import "env" "invoke_vi" (func)) (import "env" "memory" (memory 1 2 shared))"#;
        assert_eq!(of_imports(both).len(), 2);
    }

    /// Returns the message of the engine's validator about a module.
    fn invalid(text: &str) -> String {
        let module = wat::parse_str(text).expect("the text is a module");
        let features = wasmparser::WasmFeatures::WASM2;
        let error = wasmparser::Validator::new_with_features(features).validate_all(&module).err();
        format!("error: invalid module: {}", error.expect("the proposal is off"))
    }

    #[test]
    fn proposals_that_are_missing_are_named_with_the_flag_that_avoids_them() {
        for (text, expected) in [
            ("(module (tag))", "-fno-exceptions"),
            ("(module (func (block (try_table (catch_all 0)))))", "-fno-exceptions"),
            ("(module (memory 1 1 shared))", "-pthread"),
            ("(module (memory 1) (func (drop (i32.atomic.load (i32.const 0)))))", "-pthread"),
            ("(module (type (struct)))", "Kotlin"),
            ("(module (type (array i32)))", "Kotlin"),
            ("(module (rec (type (func)) (type (func))))", "Kotlin"),
        ] {
            let error = invalid(text);
            let advice = of_error(&error, &[]);
            assert!(advice.len() == 1 && advice[0].contains(expected), "{error}: {advice:?}");
        }
    }

    #[test]
    fn a_limit_is_named_with_its_option() {
        let error = "error: the module has 9000000 bytes; the limit `module_bytes` is 8388608";
        assert!(of_error(error, &[])[0].contains("--limit module_bytes=VALUE"));
        assert!(of_error("error: out of heap: the kernel heap has no room", &[])[0].contains("--memory"));
        assert_eq!(of_error("error: the module exports no function `f`", &[]), [""; 0]);
    }
}
