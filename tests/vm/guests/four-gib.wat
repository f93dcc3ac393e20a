(module (memory (export "memory") 65536 65536))
