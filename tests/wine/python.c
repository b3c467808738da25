/* python.exe: calls Py_Main of the python311.dll beside it.
 *
 * The wheel that the interpreter comes from has the library and no program. This one uses neither the C
 * runtime nor Windows' headers, so that it compiles in a moment: the compiler builds its C runtime for
 * Windows first, which takes a minute.
 */
typedef unsigned short wide;
typedef unsigned int u32;
typedef void *pointer;

__declspec(dllimport) u32 GetModuleFileNameW(pointer module, wide *path, u32 length);
__declspec(dllimport) wide *GetCommandLineW(void);
__declspec(dllimport) wide **CommandLineToArgvW(const wide *command_line, int *count);
__declspec(dllimport) pointer LoadLibraryExW(const wide *path, pointer reserved, u32 flags);
__declspec(dllimport) pointer GetProcAddress(pointer module, const char *name);
__declspec(dllimport) void ExitProcess(u32 code);

enum { PATH_LENGTH_MAX = 32768, WITH_ALTERED_SEARCH_PATH = 8, EXIT_NO_INTERPRETER = 103 };

static const char library[] = "python311.dll";
static wide path[PATH_LENGTH_MAX + sizeof library];

void start(void)
{
    u32 length = GetModuleFileNameW(0, path, PATH_LENGTH_MAX);
    while (length && path[length - 1] != '\\')
        length--;
    for (u32 i = 0; i < sizeof library; i++)
        path[length + i] = (wide)library[i];

    /* The altered search path makes it find the runtime libraries beside it. */
    pointer interpreter = LoadLibraryExW(path, 0, WITH_ALTERED_SEARCH_PATH);
    if (!interpreter)
        ExitProcess(EXIT_NO_INTERPRETER);
    int (*main)(int, wide **) = (int (*)(int, wide **))GetProcAddress(interpreter, "Py_Main");
    int count;
    wide **arguments = CommandLineToArgvW(GetCommandLineW(), &count);
    ExitProcess((u32)main(count, arguments));
}
