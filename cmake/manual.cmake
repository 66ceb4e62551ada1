# Manual pages and completions for bash and zsh, made from the tables of target lq_cli by a program built from them.

set(LQ_DATE 2026-11-23) # of the version, for the pages' footers
set(LQ_MANUAL ${PROJECT_BINARY_DIR}/manual)

file(GLOB manual_sources CONFIGURE_DEPENDS tools/manual/*.c)
file(GLOB manual_scripts CONFIGURE_DEPENDS tools/manual/completion.*)
add_executable(llava-quantize-manual ${manual_sources})
target_link_libraries(llava-quantize-manual PRIVATE lq_cli)
add_custom_command(OUTPUT ${LQ_MANUAL}.made
  COMMAND ${CMAKE_COMMAND} -E rm -rf ${LQ_MANUAL}
  COMMAND ${CMAKE_COMMAND} -E make_directory ${LQ_MANUAL}
  COMMAND llava-quantize-manual ${LQ_MANUAL} ${PROJECT_SOURCE_DIR}/tools/manual ${LQ_DATE}
  COMMAND ${CMAKE_COMMAND} -E touch ${LQ_MANUAL}.made
  DEPENDS llava-quantize-manual ${manual_scripts} VERBATIM)
add_custom_target(manual ALL DEPENDS ${LQ_MANUAL}.made)
add_dependencies(installed manual)
install(DIRECTORY ${LQ_MANUAL}/ DESTINATION share COMPONENT manual)
