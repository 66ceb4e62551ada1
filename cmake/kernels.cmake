# Kernels are optimised in every build type; each instruction set's file has its own flags alone. In the project and in
# tests/codec, which compiles the kernels for other processors.
get_filename_component(LQ_CODEC ${CMAKE_CURRENT_LIST_DIR}/../src/codec ABSOLUTE)
set(LQ_ISAS scalar)
set(LQ_FLAGS_scalar -O3)
if(LQ_SANITIZE) # their checks in loops that are unrolled far take the compiler minutes
  set(LQ_FLAGS_scalar -O1)
endif()
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  list(APPEND LQ_ISAS avx2 avx512)
  set(LQ_FLAGS_avx2 -O3 -mavx2 -mf16c)
  set(LQ_FLAGS_avx512 -O3 -mavx512f -mavx512bw -mavx512vl -mavx512dq -mf16c)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  list(APPEND LQ_ISAS neon)
  set(LQ_FLAGS_neon -O3)
endif()
foreach(isa IN LISTS LQ_ISAS)
  set_source_files_properties(${LQ_CODEC}/kernels_${isa}.c PROPERTIES COMPILE_OPTIONS "${LQ_FLAGS_${isa}}")
endforeach()
