/* A folder of its own for each test: make_folder and remove_folder are cmocka's set-up and teardown. */
#ifndef LQ_TESTS_TEST_FOLDER_H
#define LQ_TESTS_TEST_FOLDER_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/llava-quantize-test-XXXXXX");
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    return system(command);
}

#endif
