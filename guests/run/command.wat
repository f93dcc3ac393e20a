;; A WASI command that prints its inputs. To standard output it writes, without line feeds, its
;; arguments and its environment, each string followed by a NUL; then its standard input; then the
;; file `letters/a.txt` of its root directory, if there is one. It writes `!` to standard error, and
;; exits with the number of its arguments.
(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_prestat_dir_name" (func $fd_prestat_dir_name (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))

  ;; 0: a count, 4: a size, 8: a vector, 16: bytes read or written, 20: a descriptor, 64: pointers,
  ;; 1024: bytes.
  (memory (export "memory") 2)
  (data (i32.const 32) "letters/a.txt")
  (data (i32.const 48) "!")

  ;; Writes bytes to a descriptor.
  (func $write (param $to i32) (param $start i32) (param $length i32)
    (i32.store (i32.const 8) (local.get $start))
    (i32.store (i32.const 12) (local.get $length))
    (drop (call $fd_write (local.get $to) (i32.const 8) (i32.const 1) (i32.const 16))))

  ;; Copies a descriptor to standard output.
  (func $copy (param $from i32)
    (block $end
      (loop $more
        (i32.store (i32.const 8) (i32.const 1024))
        (i32.store (i32.const 12) (i32.const 64))
        (br_if $end (call $fd_read (local.get $from) (i32.const 8) (i32.const 1) (i32.const 16)))
        (br_if $end (i32.eqz (i32.load (i32.const 16))))
        (call $write (i32.const 1) (i32.const 1024) (i32.load (i32.const 16)))
        (br $more))))

  ;; Copies the file if the first preopened directory has a name of a single byte, which is `/`.
  (func $copy_file
    (block $none
      (br_if $none (call $fd_prestat_dir_name (i32.const 3) (i32.const 1024) (i32.const 1)))
      ;; 2 is the right to read.
      (br_if $none
        (call $path_open (i32.const 3) (i32.const 0) (i32.const 32) (i32.const 13) (i32.const 0)
          (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 20)))
      (call $copy (i32.load (i32.const 20)))))

  (func (export "_start")
    (local $arguments i32)
    (drop (call $args_sizes_get (i32.const 0) (i32.const 4)))
    (local.set $arguments (i32.load (i32.const 0)))
    (drop (call $args_get (i32.const 64) (i32.const 1024)))
    (call $write (i32.const 1) (i32.const 1024) (i32.load (i32.const 4)))
    (drop (call $environ_sizes_get (i32.const 0) (i32.const 4)))
    (drop (call $environ_get (i32.const 64) (i32.const 1024)))
    (call $write (i32.const 1) (i32.const 1024) (i32.load (i32.const 4)))
    (call $copy (i32.const 0))
    (call $copy_file)
    (call $write (i32.const 2) (i32.const 48) (i32.const 1))
    (call $proc_exit (local.get $arguments))))
