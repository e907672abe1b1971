# slip_pinned_source(NAME VERSION SHA256 OUT_DIR_VAR)
#   A source distribution pinned by version and checksum, fetched once into .deps/ (shared by all
#   build folders) and unpacked. Sets OUT_DIR_VAR to the unpacked folder. Offline builds: put the
#   archive into .deps/ yourself; the checksum decides.
find_package(Python3 REQUIRED COMPONENTS Interpreter)

function(slip_pinned_source name version sha256 out_var)
  set(deps ${CMAKE_SOURCE_DIR}/.deps)
  string(REPLACE "-" "_" base ${name})
  set(archive ${deps}/${base}-${version}.tar.gz)
  set(folder ${deps}/${base}-${version})
  file(MAKE_DIRECTORY ${deps})
  file(LOCK ${deps} DIRECTORY GUARD FUNCTION)
  if(NOT EXISTS ${archive})
    message(STATUS "Fetching the source of ${name} ${version}")
    execute_process(COMMAND ${Python3_EXECUTABLE} -m pip download -q --no-deps
        --no-binary ${name} -d ${deps} ${name}==${version}
      RESULT_VARIABLE failed OUTPUT_VARIABLE log ERROR_VARIABLE log)
    if(failed OR NOT EXISTS ${archive})
      message(FATAL_ERROR "Could not fetch ${name} ${version} (python3 -m pip download): ${log}\n"
        "Check the network and that python3-pip is installed, or place ${base}-${version}.tar.gz in ${deps}.")
    endif()
  endif()
  file(SHA256 ${archive} actual)
  if(NOT actual STREQUAL sha256)
    message(FATAL_ERROR "${archive} has SHA-256 ${actual}, pinned is ${sha256}. Delete it and configure again.")
  endif()
  if(NOT EXISTS ${folder}/.unpacked)
    file(ARCHIVE_EXTRACT INPUT ${archive} DESTINATION ${deps})
    file(TOUCH ${folder}/.unpacked)
  endif()
  set(${out_var} ${folder} PARENT_SCOPE)
endfunction()
