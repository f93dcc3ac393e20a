;; A memory with pages of one byte: clears begin and end inside of pages of the machine.
(module
  (import "palimpsest" "discard" (func $discard (param i32 i32) (result i32)))
  (memory (export "memory") 134217728 268435456 (pagesize 1))

  (func $touch (param $count i32) (local $at i32)
    (loop $next
      (i32.store (local.get $at) (i32.const 1))
      (local.set $at (i32.add (local.get $at) (i32.const 4096)))
      (br_if $next (local.tee $count (i32.sub (local.get $count) (i32.const 1))))))

  ;; With as many pages as the store may have, clears parts of pages that are absent and present.
  (func (export "discard_when_full") (param $count i32) (result i32)
    (call $touch (local.get $count))
    (drop (call $discard (i32.const 0x07654321) (i32.const 99)))
    (drop (call $discard (i32.const 0x2001) (i32.const 4000)))
    (drop (call $discard (i32.const 0x3fff) (i32.const 2)))
    (i32.load (i32.const 0x3000)))

  (func (export "discard_forever")
    (call $touch (i32.const 64))
    (loop $again
      (drop (call $discard (i32.const 1) (i32.const 134217726)))
      (call $touch (i32.const 2))
      (br $again))))
