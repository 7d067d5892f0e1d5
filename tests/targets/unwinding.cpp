// C++ with what makes stacks long: templates, lambdas, std::function, virtual calls, an exception in flight.
#include <cstdio>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

namespace shop {
volatile int turns;

struct Visitor {
    virtual ~Visitor() = default;
    virtual int visit(const std::string &name, std::vector<int> &values) = 0;
};

[[gnu::noinline]] void wait_here(int fd)
{
    char byte;
    while (read(fd, &byte, 1) != 0)
        turns = turns + 1;
}

template <typename T> struct Sleeper final : Visitor {
    T fd;
    explicit Sleeper(T fd) : fd(fd) {}
    [[gnu::noinline]] int visit(const std::string &name, std::vector<int> &values) override
    {
        std::function<void(int)> call = [this, &values](int depth) {
            values.push_back(depth);
            wait_here(fd);
        };
        call(static_cast<int>(name.size()));
        return values.back();
    }
};

[[gnu::noinline]] int in_catch(Visitor &visitor)
{
    std::vector<int> values;
    try {
        throw std::runtime_error("out of stock");
    } catch (const std::runtime_error &error) {
        return visitor.visit(error.what(), values);
    }
}

struct OnTheWayOut {
    Visitor &visitor;
    ~OnTheWayOut()
    {
        std::vector<int> values;
        visitor.visit("unwinding", values);
    }
};

[[gnu::noinline]] void in_cleanup(Visitor &visitor)
{
    try {
        OnTheWayOut guard{visitor};
        throw std::logic_error("thrown");
    } catch (...) {
        turns = turns + 1;
    }
}
} // namespace shop

int main()
{
    int pipes[2];
    if (pipe(pipes) != 0)
        return 1;
    shop::Sleeper<int> sleeper(pipes[0]);
    std::thread one([&] { shop::in_catch(sleeper); });
    std::thread two(shop::in_cleanup, std::ref<shop::Visitor>(sleeper));
    usleep(200000);
    std::printf("ready\n");
    std::fflush(stdout);
    while (std::getchar() != EOF)
        ;
    _exit(0);
}
