;; A program that initializes 1 MiB and allocates a block. Its forks print their number, and free
;; the block.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "palimpsest" "malloc" (func $malloc (param i32) (result i32)))
  (import "palimpsest" "free" (func $free (param i32)))
  (import "palimpsest" "snapshot_ready" (func $snapshot_ready))
  (memory (export "memory") 17 64)
  (global $block (mut i32) (i32.const 0))

  ;; Fills 16 Wasm pages with the numbers of their words.
  (func (export "initialize")
    (local $at i32)
    (loop $next
      (i32.store (local.get $at) (local.get $at))
      (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 4))) (i32.const 1048576))))
    (global.set $block (call $malloc (i32.const 10000)))
    (i32.store (global.get $block) (i32.const 41))
    (call $snapshot_ready))

  ;; Prints `number` in decimal digits and returns the sum of what is left of the initialization.
  (func (export "run") (param $number i32) (result i32)
    (local $at i32) (local $sum i32)
    (local.set $sum (i32.load (global.get $block)))
    (call $free (global.get $block))
    (loop $next
      (local.set $sum (i32.add (local.get $sum) (i32.load (local.get $at))))
      (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 4096))) (i32.const 1048576))))
    ;; The digits end at 1048640, the vector follows.
    (local.set $at (i32.const 1048640))
    (loop $digit
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at) (i32.add (i32.rem_u (local.get $number) (i32.const 10)) (i32.const 48)))
      (br_if $digit (local.tee $number (i32.div_u (local.get $number) (i32.const 10)))))
    (i32.store (i32.const 1048640) (local.get $at))
    (i32.store (i32.const 1048644) (i32.sub (i32.const 1048640) (local.get $at)))
    (i32.add
      (local.get $sum)
      (call $fd_write (i32.const 1) (i32.const 1048640) (i32.const 1) (i32.const 1048648)))))
