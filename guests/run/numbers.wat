;; Every type of number as an argument and as a result.
(module
  (func (export "add-i32") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "add-i64") (param i64 i64) (result i64) (i64.add (local.get 0) (local.get 1)))
  (func (export "add-f32") (param f32 f32) (result f32) (f32.add (local.get 0) (local.get 1)))
  (func (export "add-f64") (param f64 f64) (result f64) (f64.add (local.get 0) (local.get 1)))
  (func (export "nans") (result f32 f64) (f32.const -nan:0x200001) (f64.const nan:0x4000000000001))
  (func (export "swap") (param i32 f64) (result f64 i32) (local.get 1) (local.get 0)))
