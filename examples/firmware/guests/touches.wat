;; A guest that touches page 1 of its memory in every way that a guest can.
(module
  (import "host" "report" (func $report (param i32)))
  (memory (export "memory") 3 3)

  ;; Touches no byte of page 1.
  (func (export "beside") (result i32)
    (i32.store (i32.const 65532) (i32.const 40))
    (i32.store (i32.const 131072) (i32.const 2))
    (i32.add (i32.load (i32.const 65532)) (i32.load (i32.const 131072))))

  (func (export "read") (result i32) (i32.load (i32.const 65536)))

  (func (export "load8") (call $report (i32.load8_u (i32.const 65536))))
  (func (export "load8_s") (call $report (i32.load8_s (i32.const 65537))))
  (func (export "load16") (call $report (i32.load16_u (i32.const 65539))))
  (func (export "load32") (call $report (i32.load (i32.const 65541))))
  (func (export "load64") (call $report (i32.wrap_i64 (i64.load (i32.const 65543)))))
  (func (export "load_float") (call $report (i32.trunc_sat_f64_s (f64.load (i32.const 65544)))))
  (func (export "store8") (i32.store8 (i32.const 65536) (i32.const 7)))
  (func (export "store16") (i32.store16 (i32.const 65537) (i32.const 7)))
  (func (export "store32") (i32.store (i32.const 65539) (i32.const 7)) (call $report (i32.const 7)))
  (func (export "store64") (i64.store (i32.const 131064) (i64.const 7)))
  (func (export "store_float") (f32.store (i32.const 65548) (f32.const 7)))
  ;; The first half of it is before the page.
  (func (export "store_across") (i64.store (i32.const 65532) (i64.const -1)))
  (func (export "fill") (memory.fill (i32.const 65000) (i32.const 7) (i32.const 5000)))
  (func (export "copy_in") (memory.copy (i32.const 65536) (i32.const 1000) (i32.const 999)))
  (func (export "copy_out") (memory.copy (i32.const 1000) (i32.const 65537) (i32.const 999)))
  (func (export "loop") (local $at i32)
    (loop $next
      (i32.store (i32.add (i32.const 65536) (local.get $at)) (i32.const -1))
      (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 4))) (i32.const 65536))))))
