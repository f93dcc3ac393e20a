;; Guests of an embedder that makes mistakes, and of host functions that need much native stack.
(module
  (import "host" "enter" (func $enter))
  (import "host" "exchange" (func $exchange))
  (import "host" "unprotected" (func $unprotected (result i32)))
  (import "palimpsest" "clear_pages" (func $clear_pages (param i32 i32) (result i32)))
  (import "palimpsest" "malloc" (func $malloc (param i32) (result i32)))
  (import "palimpsest" "realloc" (func $realloc (param i32 i32) (result i32)))
  (import "palimpsest" "free" (func $free (param i32)))
  (import "wasi_snapshot_preview1" "path_create_directory" (func $mkdir (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_remove_directory" (func $rmdir (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_unlink_file" (func $unlink (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_rename" (func $rename (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_filestat_get" (func $stat (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_readdir" (func $readdir (param i32 i32 i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
  (memory (export "memory") 4)
  (table $table 1 100 funcref)
  (data (i32.const 0) "a")
  (data (i32.const 16) "a/b")
  (data (i32.const 32) "a/c")
  ;; A vector of 500 bytes.
  (data (i32.const 64) "\00\00\01\00\f4\01\00\00")

  (global $entries (mut i32) (i32.const 0))
  (global $mode (mut i32) (i32.const 0))
  ;; Stays -1 if the innermost entry is not reached.
  (global $errors (mut i32) (i32.const -1))

  ;; The host calls this export from `enter`.
  (func (export "run")
    (if (global.get $mode)
      (then (call $exchange) (call $enter))
      (else
        (global.set $entries (i32.add (global.get $entries) (i32.const 1)))
        ;; The engine admits 16 calls from the host. The first is that of `at_the_deepest_entry`.
        (if (i32.lt_u (global.get $entries) (i32.const 15))
          (then (call $enter))
          (else (global.set $errors (call $everything)))))))

  ;; Between two entries the host exchanges the store's data with that of another store.
  (func (export "exchange_between_entries")
    (global.set $mode (i32.const 1))
    (call $enter))

  (func (export "unprotected") (result i32) (call $unprotected))

  ;; Calls every kind of host function where the least of the native stack is left. Returns 0 if all
  ;; of them succeed. A nested call cannot be suspended, so all of it fits in the first slice.
  (func (export "at_the_deepest_entry") (result i32)
    (call $enter)
    (global.get $errors))

  (func $everything (result i32) (local $errors i32) (local $block i32)
    (local.set $errors (call $mkdir (i32.const 3) (i32.const 0) (i32.const 1)))
    (call $or (local.get $errors) (call $path_open (i32.const 3) (i32.const 0) (i32.const 16) (i32.const 3)
      (i32.const 1) (i64.const 0x1fffffff) (i64.const 0x1fffffff) (i32.const 0) (i32.const 128)))
    (call $or (call $write (i32.load (i32.const 128)) (i32.const 64) (i32.const 1) (i32.const 132)))
    (call $or (call $close (i32.load (i32.const 128))))
    (call $or (call $rename
      (i32.const 3) (i32.const 16) (i32.const 3) (i32.const 3) (i32.const 32) (i32.const 3)))
    (call $or (call $stat (i32.const 3) (i32.const 1) (i32.const 32) (i32.const 3) (i32.const 256)))
    (call $or (call $readdir (i32.const 3) (i32.const 512) (i32.const 512) (i64.const 0) (i32.const 132)))
    (call $or (call $unlink (i32.const 3) (i32.const 32) (i32.const 3)))
    (call $or (call $rmdir (i32.const 3) (i32.const 0) (i32.const 1)))
    (local.set $errors)
    (local.set $block (call $malloc (i32.const 5000)))
    (local.set $block (call $realloc (local.get $block) (i32.const 9000)))
    (call $or (local.get $errors) (i32.eqz (local.get $block)))
    (call $free (local.get $block))
    (call $or (i32.lt_s (memory.grow (i32.const 1)) (i32.const 0)))
    (call $or (i32.lt_s (table.grow $table (ref.null func) (i32.const 1)) (i32.const 0)))
    (call $or (call $clear_pages (i32.const 3) (i32.const 1))))
  (func $or (param i32 i32) (result i32) (i32.or (local.get 0) (local.get 1))))
