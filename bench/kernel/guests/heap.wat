;; Uses the heap that the host provides.
(module
  (import "palimpsest" "malloc" (func $malloc (param i32) (result i32)))
  (import "palimpsest" "free" (func $free (param i32)))
  (memory (export "memory") 1 65536)

  ;; Allocates a block, writes to it and frees it again, n times. The last block.
  (func (export "one") (param $n i32) (param $bytes i32) (result i32)
    (local $block i32)
    (loop $next
      (i32.store (local.tee $block (call $malloc (local.get $bytes))) (local.get $n))
      (call $free (local.get $block))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $next (local.get $n)))
    (local.get $block))

  ;; Allocates n blocks, each of which contains the address of the one before, and frees them.
  ;; Returns their number.
  (func (export "many") (param $n i32) (param $bytes i32) (result i32)
    (local $block i32) (local $before i32) (local $freed i32)
    (loop $next
      (i32.store (local.tee $block (call $malloc (local.get $bytes))) (local.get $before))
      (local.set $before (local.get $block))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $next (local.get $n)))
    (loop $next
      (local.set $before (i32.load (local.get $block)))
      (call $free (local.get $block))
      (local.set $freed (i32.add (local.get $freed) (i32.const 1)))
      (br_if $next (local.tee $block (local.get $before))))
    (local.get $freed)))
