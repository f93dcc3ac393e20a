;; Allocates heap of the kernel in every way that a guest can. Each function returns 1 if all that
;; it tried was granted.
(module
  (import "env" "again" (func $again (param i32) (result i32)))
  (import "env" "pause" (func $pause (param i32) (result i32)))
  (import "palimpsest" "clear_pages" (func $clear_pages (param i32 i32) (result i32)))
  (import "palimpsest" "malloc" (func $malloc (param i32) (result i32)))
  (import "palimpsest" "realloc" (func $realloc (param i32 i32) (result i32)))
  (import "palimpsest" "free" (func $free (param i32)))
  (import "wasi_snapshot_preview1" "path_open" (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_create_directory" (func $mkdir (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_rename" (func $rename (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_unlink_file" (func $unlink (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_readdir" (func $readdir (param i32 i32 i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))

  (memory (export "memory") 2 64)
  (table $functions (export "functions") 2 5000 funcref)
  (table $objects 0 5000 externref)
  (global $number (export "number") (mut i64) (i64.const 7))
  (elem (table $functions) (i32.const 0) func $again $recurse)
  (elem $passive funcref (ref.func $recurse) (ref.func $blocks))
  (data (i32.const 16) "directory")
  (data (i32.const 32) "directory/file")
  (data (i32.const 48) "renamed")
  ;; A vector: 5000 bytes from 4096.
  (data (i32.const 64) "\00\10\00\00\88\13\00\00")
  (data $spare "passive bytes")

  ;; Grows the memory and two tables.
  (func (export "grow") (result i32)
    (memory.init $spare (i32.const 200) (i32.const 0) (i32.const 13))
    (data.drop $spare)
    (i32.and
      (i32.ne (memory.grow (i32.const 2)) (i32.const -1))
      (i32.and
        (i32.ne (table.grow $functions (ref.func $recurse) (i32.const 3000)) (i32.const -1))
        (i32.ne (table.grow $objects (ref.null extern) (i32.const 3000)) (i32.const -1))))
    (table.init $functions $passive (i32.const 100) (i32.const 0) (i32.const 2)))

  ;; Allocates small and large blocks, moves one, frees all, and clears a page.
  (func $blocks (export "blocks") (result i32) (local $count i32) (local $block i32) (local $last i32)
    (loop $next
      (local.set $block (call $malloc (i32.add (i32.const 8) (i32.mul (i32.and (local.get $count) (i32.const 3)) (i32.const 400)))))
      (if (i32.eqz (local.get $block)) (then (return (i32.const 0))))
      (i32.store (local.get $block) (local.get $last))
      (local.set $last (local.get $block))
      (local.set $count (i32.add (local.get $count) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $count) (i32.const 40))))
    (local.set $block (call $malloc (i32.const 20000)))
    (local.set $block (call $realloc (local.get $block) (i32.const 100000)))
    (call $free (local.get $block))
    (loop $next
      (local.set $block (i32.load (local.get $last)))
      (call $free (local.get $last))
      (local.set $last (local.get $block))
      (br_if $next (local.get $last)))
    (drop (call $clear_pages (i32.const 1) (i32.const 1)))
    (i32.const 1))

  ;; Calls itself so often that the stack grows.
  (func $recurse (export "recurse") (param $depth i32) (result i32)
    (local i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64)
    (if (i32.eqz (local.get $depth)) (then (return (i32.const 1))))
    (call $recurse (i32.sub (local.get $depth) (i32.const 1))))

  ;; Calls the host, which calls this function, until $depth is 0.
  (func (export "again") (param $depth i32) (result i32)
    (if (result i32) (local.get $depth)
      (then (call $again (i32.sub (local.get $depth) (i32.const 1))))
      (else (i32.const 1))))

  ;; Creates a directory and a file, writes, renames, lists, and removes. Descriptor 3 is a scratch
  ;; directory.
  (func (export "files") (result i32) (local $fd i32)
    (if (call $mkdir (i32.const 3) (i32.const 16) (i32.const 9)) (then (return (i32.const 0))))
    (if (call $path_open (i32.const 3) (i32.const 0) (i32.const 32) (i32.const 14) (i32.const 1)
          (i64.const -1) (i64.const -1) (i32.const 0) (i32.const 128))
      (then (return (i32.const 0))))
    (local.set $fd (i32.load (i32.const 128)))
    (if (call $write (local.get $fd) (i32.const 64) (i32.const 1) (i32.const 128)) (then (return (i32.const 0))))
    (if (call $close (local.get $fd)) (then (return (i32.const 0))))
    (if (call $rename (i32.const 3) (i32.const 32) (i32.const 14) (i32.const 3) (i32.const 48) (i32.const 7))
      (then (return (i32.const 0))))
    (if (call $readdir (i32.const 3) (i32.const 8192) (i32.const 1000) (i64.const 0) (i32.const 128))
      (then (return (i32.const 0))))
    (if (call $unlink (i32.const 3) (i32.const 48) (i32.const 7)) (then (return (i32.const 0))))
    (if (call $args_get (i32.const 8192) (i32.const 9000)) (then (return (i32.const 0))))
    (if (call $write (i32.const 1) (i32.const 64) (i32.const 1) (i32.const 128)) (then (return (i32.const 0))))
    (drop (call $poll (i32.const 8192) (i32.const 9000) (i32.const 1) (i32.const 128)))
    (i32.eqz (call $yield)))

  ;; Waits, works, and waits again.
  (func (export "task") (param $rounds i32) (result i32)
    (loop $next
      (drop (call $pause (local.get $rounds)))
      (memory.fill (i32.const 8192) (i32.const 1) (i32.const 100000))
      (drop (call $recurse (i32.const 20)))
      (br_if $next (local.tee $rounds (i32.sub (local.get $rounds) (i32.const 1)))))
    (i32.const 1))

  (func (export "trap") (unreachable)))
