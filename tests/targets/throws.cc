/* Throws exceptions of several types and catches all of them; with an argument when a line has come. */
#include <cstdio>
#include <stdexcept>
#include <string>

namespace shop {
struct out_of_stock : std::runtime_error {
    explicit out_of_stock(const std::string &what) : std::runtime_error(what) {}
};
}

template <typename T> __attribute__((noinline)) static void toss(const T &thing)
{
    try {
        throw thing;
    } catch (const T &) {
    }
}

int main(int argc, char **)
{
    if (argc > 1) {
        puts("ready");
        fflush(stdout);
        getchar();
    }
    toss(shop::out_of_stock("no more than 3 left"));
    toss(std::logic_error("two and two"));
    toss(42);
    return 5;
}
