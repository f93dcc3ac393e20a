;; A loop of the kinds of instruction that were seen to keep native stack.
(module
  (type $nothing (func))
  (import "host" "probe" (func $probe))
  (table 2 2 funcref)
  ;; With pages of one byte the memory takes 16 bytes of the embedder's heap instead of 64 KiB.
  (memory 16 16 (pagesize 1))
  (elem (i32.const 0) $leaf)
  (func $leaf)
  ;; Calls the probe, runs the loop, and calls the probe again.
  (func (export "run") (param $rounds i32)
    (call $probe)
    (loop $next
      (call $leaf)
      (call_indirect (type $nothing) (i32.const 0))
      (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (local.get $rounds)))
      (table.set (i32.const 1) (table.get (i32.const 0)))
      (memory.fill (i32.const 0) (i32.const 0) (i32.const 8))
      (drop (memory.size))
      (br_if $next (local.tee $rounds (i32.sub (local.get $rounds) (i32.const 1)))))
    (call $probe)))
