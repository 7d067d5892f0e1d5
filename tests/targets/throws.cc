/* Throws exceptions of several types and catches all of them. */
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

int main()
{
    toss(shop::out_of_stock("no more than 3 left"));
    toss(std::logic_error("two and two"));
    toss(42);
    return 5;
}
