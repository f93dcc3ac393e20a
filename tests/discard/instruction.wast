;; `memory.discard` on a 32-bit memory: bytes, both arguments multiples of the page size.

(module
  (memory (export "memory") 4 8)
  (func (export "discard") (param i32 i32)
    (memory.discard (local.get 0) (local.get 1)))
  (func (export "fill") (param $value i32)
    (memory.fill (i32.const 0) (local.get $value) (i32.const 262144)))
  (func (export "store") (param i32 i32) (i32.store8 (local.get 0) (local.get 1)))
  (func (export "load") (param i32) (result i32) (i32.load8_u (local.get 0)))
  (func (export "size") (result i32) (memory.size))
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
  ;; How many bytes are not zero.
  (func (export "count") (result i32) (local $at i32) (local $count i32)
    (loop $next
      (local.set $count
        (i32.add (local.get $count) (i32.ne (i32.load8_u (local.get $at)) (i32.const 0))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $at) (i32.mul (memory.size) (i32.const 65536)))))
    (local.get $count)))

;; The range reads zero afterwards, and its neighbours are as they were.
(invoke "fill" (i32.const 170))
(assert_return (invoke "discard" (i32.const 65536) (i32.const 65536)))
(assert_return (invoke "load" (i32.const 0)) (i32.const 170))
(assert_return (invoke "load" (i32.const 65535)) (i32.const 170))
(assert_return (invoke "load" (i32.const 65536)) (i32.const 0))
(assert_return (invoke "load" (i32.const 69632)) (i32.const 0))
(assert_return (invoke "load" (i32.const 131071)) (i32.const 0))
(assert_return (invoke "load" (i32.const 131072)) (i32.const 170))
(assert_return (invoke "load" (i32.const 262143)) (i32.const 170))
(assert_return (invoke "count") (i32.const 196608))

;; The size stays; the pages can be written and read again; clearing them twice changes nothing.
(assert_return (invoke "size") (i32.const 4))
(assert_return (invoke "store" (i32.const 65541) (i32.const 7)))
(assert_return (invoke "load" (i32.const 65541)) (i32.const 7))
(assert_return (invoke "load" (i32.const 65542)) (i32.const 0))
(assert_return (invoke "discard" (i32.const 65536) (i32.const 65536)))
(assert_return (invoke "discard" (i32.const 65536) (i32.const 65536)))
(assert_return (invoke "count") (i32.const 196608))

;; The first page, the last, and all of them.
(invoke "fill" (i32.const 170))
(assert_return (invoke "discard" (i32.const 0) (i32.const 65536)))
(assert_return (invoke "load" (i32.const 0)) (i32.const 0))
(assert_return (invoke "load" (i32.const 65536)) (i32.const 170))
(assert_return (invoke "discard" (i32.const 196608) (i32.const 65536)))
(assert_return (invoke "load" (i32.const 262143)) (i32.const 0))
(assert_return (invoke "count") (i32.const 131072))
(assert_return (invoke "discard" (i32.const 0) (i32.const 262144)))
(assert_return (invoke "count") (i32.const 0))

;; A length of 0 has no effect if the start is at most the end of the memory.
(invoke "fill" (i32.const 170))
(assert_return (invoke "discard" (i32.const 0) (i32.const 0)))
(assert_return (invoke "discard" (i32.const 65536) (i32.const 0)))
(assert_return (invoke "discard" (i32.const 262144) (i32.const 0)))
(assert_trap (invoke "discard" (i32.const 327680) (i32.const 0)) "out of bounds memory access")
(assert_trap (invoke "discard" (i32.const 4294901760) (i32.const 0)) "out of bounds memory access")
(assert_return (invoke "count") (i32.const 262144))

;; Out of bounds: past the end, across it, and sums that wrap. Then nothing has changed.
(assert_trap (invoke "discard" (i32.const 262144) (i32.const 65536)) "out of bounds memory access")
(assert_trap (invoke "discard" (i32.const 196608) (i32.const 131072)) "out of bounds memory access")
(assert_trap (invoke "discard" (i32.const 0) (i32.const 327680)) "out of bounds memory access")
(assert_trap (invoke "discard" (i32.const 65536) (i32.const 4294901760)) "out of bounds memory access")
(assert_trap (invoke "discard" (i32.const 4294901760) (i32.const 65536)) "out of bounds memory access")
(assert_trap (invoke "discard" (i32.const 4294901760) (i32.const 4294901760)) "out of bounds memory access")
(assert_return (invoke "count") (i32.const 262144))

;; Unaligned: never rounded, and found before the bounds are looked at.
(assert_trap (invoke "discard" (i32.const 1) (i32.const 65536)) "unaligned discard")
(assert_trap (invoke "discard" (i32.const 65536) (i32.const 1)) "unaligned discard")
(assert_trap (invoke "discard" (i32.const 65535) (i32.const 65536)) "unaligned discard")
(assert_trap (invoke "discard" (i32.const 65536) (i32.const 69632)) "unaligned discard")
(assert_trap (invoke "discard" (i32.const 4096) (i32.const 4096)) "unaligned discard")
(assert_trap (invoke "discard" (i32.const 262145) (i32.const 0)) "unaligned discard")
(assert_trap (invoke "discard" (i32.const 4294967295) (i32.const 1)) "unaligned discard")
(assert_trap (invoke "discard" (i32.const 1) (i32.const 4294901760)) "unaligned discard")
(assert_return (invoke "count") (i32.const 262144))

;; Growing works afterwards, the new pages read zero, and can be cleared too.
(invoke "fill" (i32.const 170))
(assert_return (invoke "discard" (i32.const 65536) (i32.const 196608)))
(assert_return (invoke "grow" (i32.const 2)) (i32.const 4))
(assert_return (invoke "count") (i32.const 65536))
(assert_return (invoke "store" (i32.const 393215) (i32.const 1)))
(assert_return (invoke "count") (i32.const 65537))
(assert_return (invoke "discard" (i32.const 327680) (i32.const 65536)))
(assert_return (invoke "count") (i32.const 65536))
(assert_trap (invoke "discard" (i32.const 393216) (i32.const 65536)) "out of bounds memory access")
(assert_return (invoke "grow" (i32.const 3)) (i32.const -1))
(assert_return (invoke "size") (i32.const 6))

;; The instruction takes two operands of the index type and leaves nothing.
(assert_invalid (module (memory 1) (func (memory.discard (i32.const 0)))) "type mismatch")
(assert_invalid (module (memory 1) (func (memory.discard (i64.const 0) (i32.const 0)))) "type mismatch")
(assert_invalid (module (memory 1) (func (result i32) (memory.discard (i32.const 0) (i32.const 0)))) "type mismatch")
(assert_invalid (module (func (memory.discard (i32.const 0) (i32.const 0)))) "unknown memory")
