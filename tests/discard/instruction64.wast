;; `memory.discard` on a 64-bit memory: bytes, both arguments multiples of the page size.

(module
  (memory (export "memory") i64 4 8)
  (func (export "discard") (param i64 i64)
    (memory.discard (local.get 0) (local.get 1)))
  (func (export "fill") (param $value i32)
    (memory.fill (i64.const 0) (local.get $value) (i64.const 262144)))
  (func (export "store") (param i64 i32) (i32.store8 (local.get 0) (local.get 1)))
  (func (export "load") (param i64) (result i32) (i32.load8_u (local.get 0)))
  (func (export "size") (result i64) (memory.size))
  (func (export "grow") (param i64) (result i64) (memory.grow (local.get 0)))
  ;; How many bytes are not zero.
  (func (export "count") (result i32) (local $at i64) (local $count i32)
    (loop $next
      (local.set $count
        (i32.add (local.get $count) (i32.ne (i32.load8_u (local.get $at)) (i32.const 0))))
      (local.set $at (i64.add (local.get $at) (i64.const 1)))
      (br_if $next (i64.lt_u (local.get $at) (i64.mul (memory.size) (i64.const 65536)))))
    (local.get $count)))

;; The range reads zero afterwards, and its neighbours are as they were.
(invoke "fill" (i32.const 170))
(assert_return (invoke "discard" (i64.const 65536) (i64.const 65536)))
(assert_return (invoke "load" (i64.const 0)) (i32.const 170))
(assert_return (invoke "load" (i64.const 65535)) (i32.const 170))
(assert_return (invoke "load" (i64.const 65536)) (i32.const 0))
(assert_return (invoke "load" (i64.const 69632)) (i32.const 0))
(assert_return (invoke "load" (i64.const 131071)) (i32.const 0))
(assert_return (invoke "load" (i64.const 131072)) (i32.const 170))
(assert_return (invoke "load" (i64.const 262143)) (i32.const 170))
(assert_return (invoke "count") (i32.const 196608))

;; The size stays; the pages can be written and read again; clearing them twice changes nothing.
(assert_return (invoke "size") (i64.const 4))
(assert_return (invoke "store" (i64.const 65541) (i32.const 7)))
(assert_return (invoke "load" (i64.const 65541)) (i32.const 7))
(assert_return (invoke "load" (i64.const 65542)) (i32.const 0))
(assert_return (invoke "discard" (i64.const 65536) (i64.const 65536)))
(assert_return (invoke "discard" (i64.const 65536) (i64.const 65536)))
(assert_return (invoke "count") (i32.const 196608))

;; The first page, the last, and all of them.
(invoke "fill" (i32.const 170))
(assert_return (invoke "discard" (i64.const 0) (i64.const 65536)))
(assert_return (invoke "load" (i64.const 0)) (i32.const 0))
(assert_return (invoke "load" (i64.const 65536)) (i32.const 170))
(assert_return (invoke "discard" (i64.const 196608) (i64.const 65536)))
(assert_return (invoke "load" (i64.const 262143)) (i32.const 0))
(assert_return (invoke "count") (i32.const 131072))
(assert_return (invoke "discard" (i64.const 0) (i64.const 262144)))
(assert_return (invoke "count") (i32.const 0))

;; A length of 0 has no effect if the start is at most the end of the memory.
(invoke "fill" (i32.const 170))
(assert_return (invoke "discard" (i64.const 0) (i64.const 0)))
(assert_return (invoke "discard" (i64.const 65536) (i64.const 0)))
(assert_return (invoke "discard" (i64.const 262144) (i64.const 0)))
(assert_trap (invoke "discard" (i64.const 327680) (i64.const 0)) "out of bounds memory access")
(assert_trap (invoke "discard" (i64.const 18446744073709486080) (i64.const 0)) "out of bounds memory access")
(assert_return (invoke "count") (i32.const 262144))

;; Out of bounds: past the end, across it, and sums that wrap. Then nothing has changed.
(assert_trap (invoke "discard" (i64.const 262144) (i64.const 65536)) "out of bounds memory access")
(assert_trap (invoke "discard" (i64.const 196608) (i64.const 131072)) "out of bounds memory access")
(assert_trap (invoke "discard" (i64.const 0) (i64.const 327680)) "out of bounds memory access")
(assert_trap (invoke "discard" (i64.const 65536) (i64.const 18446744073709486080)) "out of bounds memory access")
(assert_trap (invoke "discard" (i64.const 18446744073709486080) (i64.const 65536)) "out of bounds memory access")
(assert_trap (invoke "discard" (i64.const 18446744073709486080) (i64.const 18446744073709486080)) "out of bounds memory access")
(assert_return (invoke "count") (i32.const 262144))

;; Unaligned: never rounded, and found before the bounds are looked at.
(assert_trap (invoke "discard" (i64.const 1) (i64.const 65536)) "unaligned discard")
(assert_trap (invoke "discard" (i64.const 65536) (i64.const 1)) "unaligned discard")
(assert_trap (invoke "discard" (i64.const 65535) (i64.const 65536)) "unaligned discard")
(assert_trap (invoke "discard" (i64.const 65536) (i64.const 69632)) "unaligned discard")
(assert_trap (invoke "discard" (i64.const 4096) (i64.const 4096)) "unaligned discard")
(assert_trap (invoke "discard" (i64.const 262145) (i64.const 0)) "unaligned discard")
(assert_trap (invoke "discard" (i64.const 18446744073709551615) (i64.const 1)) "unaligned discard")
(assert_trap (invoke "discard" (i64.const 1) (i64.const 18446744073709486080)) "unaligned discard")
(assert_return (invoke "count") (i32.const 262144))

;; Growing works afterwards, the new pages read zero, and can be cleared too.
(invoke "fill" (i32.const 170))
(assert_return (invoke "discard" (i64.const 65536) (i64.const 196608)))
(assert_return (invoke "grow" (i64.const 2)) (i64.const 4))
(assert_return (invoke "count") (i32.const 65536))
(assert_return (invoke "store" (i64.const 393215) (i32.const 1)))
(assert_return (invoke "count") (i32.const 65537))
(assert_return (invoke "discard" (i64.const 327680) (i64.const 65536)))
(assert_return (invoke "count") (i32.const 65536))
(assert_trap (invoke "discard" (i64.const 393216) (i64.const 65536)) "out of bounds memory access")
(assert_return (invoke "grow" (i64.const 3)) (i64.const -1))
(assert_return (invoke "size") (i64.const 6))

;; The instruction takes two operands of the index type and leaves nothing.
(assert_invalid (module (memory i64 1) (func (memory.discard (i64.const 0)))) "type mismatch")
(assert_invalid (module (memory i64 1) (func (memory.discard (i32.const 0) (i64.const 0)))) "type mismatch")
(assert_invalid (module (memory i64 1) (func (result i32) (memory.discard (i64.const 0) (i64.const 0)))) "type mismatch")
(assert_invalid (module (func (memory.discard (i64.const 0) (i64.const 0)))) "unknown memory")
