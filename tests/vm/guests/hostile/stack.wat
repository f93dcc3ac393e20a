;; Recursion: within the guest, and through the host.
(module
  (import "host" "enter" (func $enter))
  (import "host" "leaf" (func $leaf))
  (memory (export "memory") 1)

  (func $endless (export "endless") (call $endless))
  (func $wide (export "wide")
    (param i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64) (result i64)
    (local i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64)
    (i64.add (local.get 0) (call $wide
      (local.get 1) (local.get 2) (local.get 3) (local.get 4) (local.get 5) (local.get 6) (local.get 7)
      (local.get 8) (local.get 9) (local.get 10) (local.get 11) (local.get 12) (local.get 13)
      (local.get 14) (local.get 15) (local.get 16))))
  (func (export "wide_recursion") (result i64)
    (call $wide (i64.const 1) (i64.const 1) (i64.const 1) (i64.const 1) (i64.const 1) (i64.const 1)
      (i64.const 1) (i64.const 1) (i64.const 1) (i64.const 1) (i64.const 1) (i64.const 1) (i64.const 1)
      (i64.const 1) (i64.const 1) (i64.const 1)))

  ;; The host calls this export again.
  (func (export "run") (call $down (i32.const 4)) (call $enter))
  ;; Frames of the guest between two entries.
  (func $down (param i32)
    (if (local.get 0) (then (call $down (i32.sub (local.get 0) (i32.const 1))))))
  (func $deep_enter (export "enter_below_frames") (param i32)
    (if (local.get 0)
      (then (call $deep_enter (i32.sub (local.get 0) (i32.const 1))))
      (else (call $enter))))

  (func (export "little") (drop (memory.grow (i32.const 0))))
  (func (export "leaf_forever") (loop $again (call $leaf) (br $again))))
