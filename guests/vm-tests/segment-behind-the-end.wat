;; Its second segment does not fit: what the first has written stays with the store, and goes with it.
(module (memory 1) (data (i32.const 0) "written") (data (i32.const 65530) "does not fit"))
