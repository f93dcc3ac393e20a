;; Writes to a file at random places, reads from others, truncates it, and removes it now and then.
;; A copy of the file is in linear memory. Returns how many words differed from the copy.
(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_unlink_file" (func $unlink (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_pwrite" (func $pwrite (param i32 i32 i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_pread" (func $pread (param i32 i32 i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_filestat_set_size" (func $set_size (param i32 i64) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
  (memory (export "memory") 5)
  (data (i32.const 0) "kept")
  ;; A vector of the 8 bytes at 32. The place for results is at 24.
  (data (i32.const 16) "\20\00\00\00\08\00\00\00")

  ;; The copy starts after the first Wasm page and has 256 KiB.
  (global $copy i32 (i32.const 65536))
  (global $bytes i32 (i32.const 262144))
  (global $seed (mut i64) (i64.const 0))
  (global $fd (mut i32) (i32.const 0))

  (func $next (result i64)
    (global.set $seed (i64.xor (global.get $seed) (i64.shl (global.get $seed) (i64.const 13))))
    (global.set $seed (i64.xor (global.get $seed) (i64.shr_u (global.get $seed) (i64.const 7))))
    (global.set $seed (i64.xor (global.get $seed) (i64.shl (global.get $seed) (i64.const 17))))
    (global.get $seed))
  ;; The place of a word in the file.
  (func $place (result i32)
    (i32.and (i32.wrap_i64 (i64.shr_u (call $next) (i64.const 20))) (i32.const 0x3fff8)))
  ;; Every call must succeed.
  (func $must (param i32) (if (local.get 0) (then (unreachable))))

  (func $open
    (call $must (call $path_open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 4) (i32.const 1)
      (i64.const 0x1fffffff) (i64.const 0x1fffffff) (i32.const 0) (i32.const 24)))
    (global.set $fd (i32.load (i32.const 24))))

  (func $write (param $at i32) (param $word i64)
    (i64.store (i32.const 32) (local.get $word))
    (call $must (call $pwrite (global.get $fd) (i32.const 16) (i32.const 1)
      (i64.extend_i32_u (local.get $at)) (i32.const 24)))
    (call $must (i32.ne (i32.load (i32.const 24)) (i32.const 8)))
    (i64.store (i32.add (global.get $copy) (local.get $at)) (local.get $word)))

  ;; Returns whether the file and the copy differ. Past its end the file has no bytes.
  (func $differs (param $at i32) (result i32)
    (i64.store (i32.const 32) (i64.const 0))
    (call $must (call $pread (global.get $fd) (i32.const 16) (i32.const 1)
      (i64.extend_i32_u (local.get $at)) (i32.const 24)))
    (i64.ne (i64.load (i32.const 32)) (i64.load (i32.add (global.get $copy) (local.get $at)))))

  (func $truncate (param $at i32)
    (call $must (call $set_size (global.get $fd) (i64.extend_i32_u (local.get $at))))
    (memory.fill (i32.add (global.get $copy) (local.get $at)) (i32.const 0)
      (i32.sub (global.get $bytes) (local.get $at))))

  (func $begin_anew
    (call $must (call $close (global.get $fd)))
    (call $must (call $unlink (i32.const 3) (i32.const 0) (i32.const 4)))
    (memory.fill (global.get $copy) (i32.const 0) (global.get $bytes))
    (call $open))

  (func (export "run") (param $seed i64) (param $rounds i32) (result i64) (local $differences i32)
    (global.set $seed (local.get $seed))
    (call $open)
    (loop $again
      (call $write (call $place) (call $next))
      (local.set $differences (i32.add (local.get $differences) (call $differs (call $place))))
      (if (i64.eqz (i64.and (call $next) (i64.const 63))) (then (call $truncate (call $place))))
      (if (i64.eqz (i64.and (call $next) (i64.const 255))) (then (call $begin_anew)))
      (br_if $again (local.tee $rounds (i32.sub (local.get $rounds) (i32.const 1)))))
    (i64.extend_i32_u (local.get $differences))))
