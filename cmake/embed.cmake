# Turns files into constant byte arrays: cmake -D OUTPUT=assets.c -D HEADER=report/assets.h -P embed.cmake FILE...
# FILE a/page.css becomes lq_asset_page_css of struct lq_asset.
set(text "#include \"${HEADER}\"\n")
set(at 0)
foreach(i RANGE ${CMAKE_ARGC})
  set(file "${CMAKE_ARGV${i}}")
  if(at AND file)
    get_filename_component(name "${file}" NAME)
    string(MAKE_C_IDENTIFIER "${name}" name)
    file(READ "${file}" hex HEX)
    string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
    string(APPEND text "\nstatic const unsigned char ${name}[] = {${bytes}};\n"
      "const struct lq_asset lq_asset_${name} = {${name}, sizeof ${name}};\n")
  endif()
  if(file MATCHES "embed\\.cmake$")
    set(at 1)
  endif()
endforeach()
file(WRITE ${OUTPUT} "${text}")
