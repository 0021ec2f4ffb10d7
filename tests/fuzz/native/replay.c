/* In the place of libFuzzer, for any compiler: runs the target on each file named. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int count, char **paths) {
    for (int i = 1; i < count; i++) {
        FILE *file = fopen(paths[i], "rb");
        if (!file || fseek(file, 0, SEEK_END)) return fprintf(stderr, "cannot read %s\n", paths[i]), 2;
        long size = ftell(file);
        uint8_t *data = malloc(size > 0 ? (size_t)size : 1);
        rewind(file);
        if (!data || fread(data, 1, (size_t)size, file) != (size_t)size) return 2;
        fclose(file);
        fprintf(stderr, "%s\n", paths[i]); /* the last one named is the one that crashed */
        LLVMFuzzerTestOneInput(data, (size_t)size);
        free(data);
    }
    return 0;
}
