//! All functions of preview 1, with the types that the crate `wasip1` declares.

/// A function's name, and its parameters in the text format.
pub(crate) type Function = (&'static str, &'static [&'static str]);

macro_rules! functions {
    ($($name:ident($($param:ident),*);)*) => {
        /// All functions but `proc_exit`. Each returns an error code.
        pub(crate) const FUNCTIONS: &[Function] = &[$((stringify!($name), &[$(stringify!($param)),*])),*];

        /// Fails to compile if a name or a type differs from `wasip1`. It is generic, so that the
        /// host's linker does not look for the functions.
        #[expect(dead_code, reason = "the test is that it compiles")]
        fn types_are_those_of_wasip1<T>(_: T) {
            $(let _: unsafe extern "C" fn($($param),*) -> i32 = wasip1::wasi_snapshot_preview1::$name;)*
        }
    };
}

functions! {
    args_get(i32, i32);
    args_sizes_get(i32, i32);
    environ_get(i32, i32);
    environ_sizes_get(i32, i32);
    clock_res_get(i32, i32);
    clock_time_get(i32, i64, i32);
    fd_advise(i32, i64, i64, i32);
    fd_allocate(i32, i64, i64);
    fd_close(i32);
    fd_datasync(i32);
    fd_fdstat_get(i32, i32);
    fd_fdstat_set_flags(i32, i32);
    fd_fdstat_set_rights(i32, i64, i64);
    fd_filestat_get(i32, i32);
    fd_filestat_set_size(i32, i64);
    fd_filestat_set_times(i32, i64, i64, i32);
    fd_pread(i32, i32, i32, i64, i32);
    fd_prestat_get(i32, i32);
    fd_prestat_dir_name(i32, i32, i32);
    fd_pwrite(i32, i32, i32, i64, i32);
    fd_read(i32, i32, i32, i32);
    fd_readdir(i32, i32, i32, i64, i32);
    fd_renumber(i32, i32);
    fd_seek(i32, i64, i32, i32);
    fd_sync(i32);
    fd_tell(i32, i32);
    fd_write(i32, i32, i32, i32);
    path_create_directory(i32, i32, i32);
    path_filestat_get(i32, i32, i32, i32, i32);
    path_filestat_set_times(i32, i32, i32, i32, i64, i64, i32);
    path_link(i32, i32, i32, i32, i32, i32, i32);
    path_open(i32, i32, i32, i32, i32, i64, i64, i32, i32);
    path_readlink(i32, i32, i32, i32, i32, i32);
    path_remove_directory(i32, i32, i32);
    path_rename(i32, i32, i32, i32, i32, i32);
    path_symlink(i32, i32, i32, i32, i32);
    path_unlink_file(i32, i32, i32);
    poll_oneoff(i32, i32, i32, i32);
    proc_raise(i32);
    random_get(i32, i32);
    sched_yield();
    sock_accept(i32, i32, i32);
    sock_recv(i32, i32, i32, i32, i32, i32);
    sock_send(i32, i32, i32, i32, i32);
    sock_shutdown(i32, i32);
}

/// Returns a guest that exports a wrapper for each function of preview 1.
pub(crate) fn guest_wat() -> String {
    let mut imports = String::new();
    let mut exports = String::new();
    let with_exit = FUNCTIONS.iter().map(|(name, params)| (*name, *params, "(result i32)"));
    for (name, params, result) in with_exit.chain([("proc_exit", ["i32"].as_slice(), "")]) {
        let param: String = params.iter().map(|param| format!("(param {param})")).collect();
        let arguments: String = (0..params.len()).map(|index| format!("(local.get {index})")).collect();
        imports += &format!(r#"(import "wasi_snapshot_preview1" "{name}" (func ${name} {param} {result}))"#);
        exports += &format!(r#"(func (export "{name}") {param} {result} (call ${name} {arguments}))"#);
    }
    format!(r#"(module {imports} (memory (export "memory") 2) {exports})"#)
}
