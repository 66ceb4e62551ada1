# Kernels are optimised in every build type; each instruction set's file has its own flags alone. In the project and in
# tests/codec, which compiles the kernels for other processors.
get_filename_component(LQ_CODEC ${CMAKE_CURRENT_LIST_DIR}/../src/codec ABSOLUTE)
set_source_files_properties(${LQ_CODEC}/kernels_scalar.c ${LQ_CODEC}/kernels_neon.c PROPERTIES COMPILE_OPTIONS "-O3")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set_source_files_properties(${LQ_CODEC}/kernels_avx2.c PROPERTIES COMPILE_OPTIONS "-O3;-mavx2;-mf16c")
  set_source_files_properties(${LQ_CODEC}/kernels_avx512.c PROPERTIES
    COMPILE_OPTIONS "-O3;-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mf16c")
endif()
