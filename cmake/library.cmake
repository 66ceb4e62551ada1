# The library as others use it: static and shared from the same objects, headers, pkg-config file and CMake package.
# Needs target lq and LQ_INSTALLED_LLAMA, the run path to llama.cpp's libraries.

# What the public headers declare is what the shared library exports: the version script is made from them, at every
# configure and whenever one of them changes. A declaration begins in the first column.
set(LQ_ABI ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
file(GLOB LQ_HEADERS CONFIGURE_DEPENDS include/llava_quantize/*.h)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${LQ_HEADERS})
foreach(header IN LISTS LQ_HEADERS)
  file(STRINGS ${header} declarations REGEX "^[a-z].*[ *]lq_[a-z0-9_]+\\(")
  list(FILTER declarations EXCLUDE REGEX "^typedef")
  foreach(declaration IN LISTS declarations)
    string(REGEX REPLACE "^[a-z].*[ *](lq_[a-z0-9_]+)\\(.*" "        \\1;\n" name "${declaration}")
    string(APPEND LQ_EXPORTS "${name}")
  endforeach()
endforeach()
configure_file(cmake/llava_quantize.map.in llava_quantize.map @ONLY)

set_target_properties(lq PROPERTIES POSITION_INDEPENDENT_CODE ON)
target_compile_options(lq PRIVATE -fno-semantic-interposition)
add_library(lq_shared SHARED $<TARGET_OBJECTS:lq>)
target_link_libraries(lq_shared PRIVATE llama ${LQ_MTMD} PkgConfig::JANSSON PkgConfig::XXHASH PkgConfig::CRYPTO
  PkgConfig::OPENBLAS Threads::Threads m ${CMAKE_DL_LIBS})
target_link_options(lq_shared PRIVATE -Wl,--version-script=${PROJECT_BINARY_DIR}/llava_quantize.map)
set_target_properties(lq_shared PROPERTIES OUTPUT_NAME llava_quantize VERSION ${PROJECT_VERSION}
  SOVERSION ${PROJECT_VERSION_MAJOR} LINKER_LANGUAGE C LINK_DEPENDS ${PROJECT_BINARY_DIR}/llava_quantize.map
  INSTALL_RPATH "${LQ_INSTALLED_LLAMA}")

# `make install` copies these and the program, nothing else.
add_custom_target(installed DEPENDS lq lq_shared)
if(TARGET llava-quantize)
  add_dependencies(installed llava-quantize)
endif()
install(TARGETS lq lq_shared ARCHIVE DESTINATION lib LIBRARY DESTINATION lib)
install(FILES include/llava_quantize.h DESTINATION include)
install(FILES ${LQ_HEADERS} DESTINATION include/llava_quantize)

# The files that name the library's place find it from where they stand themselves, so that a tree may be moved.
set(LQ_PC_LLAMA ${LLAMA_LIB_DIR})
set(LQ_CONFIG_LLAMA ${LLAMA_LIB_DIR})
if(LQ_BUNDLE_LLAMA)
  set(LQ_PC_LLAMA "\${libdir}/llava-quantize")
  set(LQ_CONFIG_LLAMA "\${llava_quantize_prefix}/lib/llava-quantize")
endif()
include(CMakePackageConfigHelpers)
configure_file(cmake/llava_quantize.pc.in llava_quantize.pc @ONLY)
configure_file(cmake/llava_quantizeConfig.cmake.in llava_quantizeConfig.cmake @ONLY)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/llava_quantizeConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/llava_quantize.pc DESTINATION lib/pkgconfig)
install(FILES ${PROJECT_BINARY_DIR}/llava_quantizeConfig.cmake ${PROJECT_BINARY_DIR}/llava_quantizeConfigVersion.cmake
  DESTINATION lib/cmake/llava_quantize)
