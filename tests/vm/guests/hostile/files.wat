;; What a program can do to a file system: descriptor 3 is the directory that it may write to.
(module
  (import "wasi_snapshot_preview1" "path_create_directory" (func $mkdir (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_remove_directory" (func $rmdir (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_unlink_file" (func $unlink (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_rename" (func $rename (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_filestat_get" (func $stat (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_pwrite" (func $pwrite (param i32 i32 i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_filestat_set_size" (func $truncate (param i32 i64) (result i32)))
  (import "wasi_snapshot_preview1" "fd_readdir" (func $readdir (param i32 i32 i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 16384)   ;; 1 GiB
  (data (i32.const 0) "a")
  (data (i32.const 16) "a/b")
  (data (i32.const 32) "c")
  (data (i32.const 48) "a/b/c")
  ;; A vector of one byte, and one of 64 MiB.
  (data (i32.const 64) "\00\00\00\00\01\00\00\00")
  (data (i32.const 80) "\00\00\01\00\00\00\00\04")

  ;; Opens `path` with O_CREAT, and as a directory if `flags` has 2. Returns the descriptor, or -1.
  (func $open (param $fd i32) (param $at i32) (param $len i32) (param $flags i32) (result i32)
    (if (call $path_open (local.get $fd) (i32.const 0) (local.get $at) (local.get $len) (local.get $flags)
      (i64.const 0x1fffffff) (i64.const 0x1fffffff) (i32.const 0) (i32.const 128))
      (then (return (i32.const -1))))
    (i32.load (i32.const 128)))

  ;; Moves a directory into an open one that was removed, with its parent.
  (func (export "into_removed") (result i32) (local $fd i32)
    (drop (call $mkdir (i32.const 3) (i32.const 0) (i32.const 1)))
    (drop (call $mkdir (i32.const 3) (i32.const 16) (i32.const 3)))
    (drop (call $mkdir (i32.const 3) (i32.const 32) (i32.const 1)))
    (local.set $fd (call $open (i32.const 3) (i32.const 16) (i32.const 3) (i32.const 2)))
    (drop (call $rmdir (i32.const 3) (i32.const 16) (i32.const 3)))
    (drop (call $rmdir (i32.const 3) (i32.const 0) (i32.const 1)))
    (drop (call $mkdir (local.get $fd) (i32.const 32) (i32.const 1)))
    (i32.ne (i32.const 0)
      (call $rename (i32.const 3) (i32.const 32) (i32.const 1) (local.get $fd) (i32.const 0) (i32.const 1))))

  ;; Moves a directory below itself, and two into each other.
  (func (export "cycles")
    (drop (call $mkdir (i32.const 3) (i32.const 0) (i32.const 1)))
    (drop (call $mkdir (i32.const 3) (i32.const 16) (i32.const 3)))
    (drop (call $mkdir (i32.const 3) (i32.const 32) (i32.const 1)))
    (loop $again
      (drop (call $rename (i32.const 3) (i32.const 0) (i32.const 1) (i32.const 3) (i32.const 48) (i32.const 5)))
      (drop (call $rename (i32.const 3) (i32.const 32) (i32.const 1) (i32.const 3) (i32.const 48) (i32.const 5)))
      (drop (call $rename (i32.const 3) (i32.const 48) (i32.const 5) (i32.const 3) (i32.const 32) (i32.const 1)))
      (br $again)))

  ;; Makes directories in each other through descriptors, until that is refused. Then requests the
  ;; longest path again and again.
  (func (export "deep") (local $fd i32) (local $next i32) (local $at i32)
    (local.set $fd (i32.const 3))
    (block $deepest
      (loop $down
        (br_if $deepest (call $mkdir (local.get $fd) (i32.const 0) (i32.const 1)))
        (local.set $next (call $open (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 2)))
        (br_if $deepest (i32.eq (local.get $next) (i32.const -1)))
        (if (i32.ne (local.get $fd) (i32.const 3)) (then (drop (call $close (local.get $fd)))))
        (local.set $fd (local.get $next))
        (br $down)))
    (loop $path
      (i32.store16 (i32.add (i32.const 4096) (local.get $at)) (i32.const 0x2f61))
      (br_if $path (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 2))) (i32.const 65534))))
    (loop $again
      (drop (call $stat (i32.const 3) (i32.const 0) (i32.const 4096) (i32.const 4093) (i32.const 256)))
      (drop (call $stat (i32.const 3) (i32.const 0) (i32.const 4096) (i32.const 65534) (i32.const 256)))
      (drop (call $rename (i32.const 3) (i32.const 4096) (i32.const 1001) (i32.const 3) (i32.const 4096) (i32.const 2001)))
      (drop (call $rename (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 3) (i32.const 32) (i32.const 1)))
      (br $again)))

  ;; Writes one byte into each block of a file, until that is refused, and removes the file.
  (func $holes (result i32) (local $fd i32) (local $at i64) (local $errno i32)
    (local.set $fd (call $open (i32.const 3) (i32.const 0) (i32.const 1) (i32.const 1)))
    (loop $next
      (local.set $errno
        (call $pwrite (local.get $fd) (i32.const 64) (i32.const 1) (local.get $at) (i32.const 128)))
      (local.set $at (i64.add (local.get $at) (i64.const 4096)))
      (br_if $next (i32.eqz (local.get $errno))))
    (drop (call $close (local.get $fd)))
    (drop (call $unlink (i32.const 3) (i32.const 0) (i32.const 1)))
    (local.get $errno))
  (func (export "holes") (result i32) (call $holes))
  (func (export "holes_forever") (loop $again (drop (call $holes)) (br $again)))
  ;; Holes of a TiB between single bytes, and sizes up to 2^63.
  (func (export "vast_holes") (local $fd i32) (local $at i64)
    (local.set $fd (call $open (i32.const 3) (i32.const 0) (i32.const 1) (i32.const 1)))
    (loop $again
      (drop (call $pwrite (local.get $fd) (i32.const 64) (i32.const 1) (local.get $at) (i32.const 128)))
      (drop (call $truncate (local.get $fd) (i64.const 0x7fffffffffffffff)))
      (drop (call $truncate (local.get $fd) (local.get $at)))
      (local.set $at (i64.add (local.get $at) (i64.const 0x10000000001)))
      (br $again)))

  ;; Makes files with numbers as names until that is refused, and lists them again and again.
  (func (export "names") (local $n i32)
    (loop $more
      (i32.store (i32.const 512) (i32.add (i32.const 0x30303030)
        (i32.or (i32.or (i32.and (local.get $n) (i32.const 15))
          (i32.shl (i32.and (local.get $n) (i32.const 0xf0)) (i32.const 4)))
          (i32.shl (i32.and (local.get $n) (i32.const 0xf00)) (i32.const 8)))))
      (drop (call $mkdir (i32.const 3) (i32.const 512) (i32.const 4)))
      (br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 4096))))
    (loop $again
      (drop (call $readdir (i32.const 3) (i32.const 65536) (i32.const 0x1000000) (i64.const 0) (i32.const 128)))
      (br $again)))

  ;; Opens the same file until that is refused.
  (func (export "descriptors") (result i32) (local $errno i32)
    (drop (call $open (i32.const 3) (i32.const 0) (i32.const 1) (i32.const 1)))
    (loop $more
      (local.set $errno (call $path_open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 0)
        (i64.const 0x1fffffff) (i64.const 0x1fffffff) (i32.const 0) (i32.const 128)))
      (br_if $more (i32.eqz (local.get $errno))))
    (local.get $errno))

  (func (export "random") (param $bytes i32)
    (loop $again (drop (call $random (i32.const 65536) (local.get $bytes))) (br $again)))

  ;; Prints 64 MiB at a time, and passes lists of vectors that end past the memory.
  (func (export "print")
    (loop $again
      (drop (call $write (i32.const 1) (i32.const 80) (i32.const 1) (i32.const 128)))
      (drop (call $write (i32.const 1) (i32.const 80) (i32.const 0x10000000) (i32.const 128)))
      (br $again)))
  ;; A list of a million empty vectors.
  (func (export "vectors")
    (loop $again
      (drop (call $write (i32.const 1) (i32.const 0x100000) (i32.const 1000000) (i32.const 128)))
      (br $again)))
  (func (export "subscriptions")
    (loop $again
      (drop (call $poll (i32.const 0x100000) (i32.const 0x2000000) (i32.const 100000) (i32.const 128)))
      (br $again))))
