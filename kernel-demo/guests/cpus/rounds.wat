;; Writes to its pages, reads them again, and clears them, round after round. For guests on several
;; CPUs: step 8 of the tour, and tests.
(module
  (import "palimpsest" "clear_pages" (func $clear_pages (param i32 i32) (result i32)))
  (memory (export "memory") 1)

  ;; In each round every word must be zero at first, and then what was written to it. Returns how
  ;; many words were not.
  (func (export "rounds") (param $seed i64) (param $rounds i32) (result i32)
    (local $address i32) (local $wrong i32)
    (block $done
      (loop $again
        (br_if $done (i32.eqz (local.get $rounds)))
        (local.set $rounds (i32.sub (local.get $rounds) (i32.const 1)))
        (local.set $seed (i64.add (local.get $seed) (i64.const 0x9e3779b97f4a7c15)))
        (local.set $address (i32.const 0))
        (loop $write
          (local.set $wrong
            (i32.add (local.get $wrong) (i64.ne (i64.load (local.get $address)) (i64.const 0))))
          (i64.store (local.get $address) (i64.add (local.get $seed) (i64.extend_i32_u (local.get $address))))
          (br_if $write
            (i32.lt_u (local.tee $address (i32.add (local.get $address) (i32.const 512))) (i32.const 65536))))
        (local.set $address (i32.const 0))
        (loop $read
          (local.set $wrong
            (i32.add
              (local.get $wrong)
              (i64.ne
                (i64.load (local.get $address))
                (i64.add (local.get $seed) (i64.extend_i32_u (local.get $address))))))
          (br_if $read
            (i32.lt_u (local.tee $address (i32.add (local.get $address) (i32.const 512))) (i32.const 65536))))
        (local.set $wrong
          (i32.add (local.get $wrong) (call $clear_pages (i32.const 0) (i32.const 1))))
        (br $again)))
    (local.get $wrong)))
